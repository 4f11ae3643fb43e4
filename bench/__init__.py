# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: how fast the operators and the model are here, against MindSpore's own ops and other libraries."""
