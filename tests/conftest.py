# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

os.environ.setdefault("GLOG_v", "4")  # MindSpore logs failed compilations that tests provoke on purpose


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    """MindSpore drops rank_0/ and kernel_meta/ where it runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _in_pynative_mode():
    """Commands run in this process choose graph mode."""
    yield
    if "mindspore" in sys.modules:
        import mindspore as ms

        ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture(autouse=True)
def _kernels_by_default():
    """Tests force instruction sets and numbers of threads."""
    yield
    if native := sys.modules.get("swinv2_kernels._native"):
        native.set_isa("")
        native.set_num_threads(0)


@pytest.fixture(params=["pynative", "graph"])
def mode(request):
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE if request.param == "graph" else ms.PYNATIVE_MODE)
    return request.param
