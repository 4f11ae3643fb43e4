// SPDX-License-Identifier: Apache-2.0
// Small programs that run on both chips.
#pragma once
