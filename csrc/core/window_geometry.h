// SPDX-License-Identifier: Apache-2.0
//
// Where a token of a window lives in the image, and which tokens of a window may not see each other.
//
// roll(-shift), window partition, window reverse and roll(+shift) are one index map. Token (h, w) of window
// (wy, wx) is
//
//     y = (wy * Wh + h + shift_h) mod H        x = (wx * Ww + w + shift_w) mod W
//
// and its region on each axis is 1 in the last `shift` positions of the last window, else 0: two tokens whose
// regions differ come from opposite borders of the image. A token is valid when y < Hv and x < Wv.
#pragma once

#include <cstdint>

namespace swinv2 {

struct WindowGeometry {
  int64_t batch, height, width;  // image, multiples of the window
  int64_t window_h, window_w;    // Wh, Ww
  int64_t shift_h, shift_w;      // 0 <= shift < window
  int64_t valid_h, valid_w;      // Hv, Wv: tokens beyond are padding

  int64_t rows() const { return height / window_h; }
  int64_t cols() const { return width / window_w; }
  int64_t windows() const { return batch * rows() * cols(); }
  int64_t tokens() const { return window_h * window_w; }  // N

  // y and x of row h / column w of a window in the image as stored.
  int64_t y(int64_t wy, int64_t h) const { return wrap(wy * window_h + h + shift_h, height); }
  int64_t x(int64_t wx, int64_t w) const { return wrap(wx * window_w + w + shift_w, width); }

  // First row (column) of a window that lies in region 1; the window's size where none does.
  int64_t split_h(int64_t wy) const { return wy == rows() - 1 ? window_h - shift_h : window_h; }
  int64_t split_w(int64_t wx) const { return wx == cols() - 1 ? window_w - shift_w : window_w; }
  bool has_regions(int64_t wy, int64_t wx) const {
    return (shift_h > 0 && wy == rows() - 1) || (shift_w > 0 && wx == cols() - 1);
  }

 private:
  static int64_t wrap(int64_t i, int64_t n) { return i < n ? i : i - n; }
};

}  // namespace swinv2
