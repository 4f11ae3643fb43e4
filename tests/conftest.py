# SPDX-License-Identifier: Apache-2.0
import os

import pytest

os.environ.setdefault("GLOG_v", "4")  # MindSpore logs failed compilations that tests provoke on purpose


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    """MindSpore drops rank_0/ and kernel_meta/ where it runs."""
    monkeypatch.chdir(tmp_path)
