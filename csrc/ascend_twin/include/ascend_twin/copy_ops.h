// SPDX-License-Identifier: Apache-2.0
// The data movers and the cube unit: what the API headers hand to them.
#pragma once

#include <cstdint>

#include "ascend_twin/core.h"
#include "ascend_twin/vector_ops.h"

namespace ascend_twin {

// One end of a copy.
struct Place {
  Mem mem = Mem::kUB;
  uint16_t gm = 0xffff;
  int64_t addr = 0;
  uint32_t limit = 0;  // end of its buffer, 0 if unknown
  DType type = DType::kFloat;
};

// Bursts of bytes. Strides are bytes from burst to burst.
struct CopyCall {
  const char* name;
  Place src, dst;
  uint32_t count = 1;
  uint32_t len = 0;
  int64_t src_stride = 0, dst_stride = 0;
};

// The pipe that moves data between two memories on this chip; kS if there is no such path.
Pipe CopyPipe(Soc soc, Mem src, Mem dst);

void Copy(Core& core, const CopyCall& call, const Where& where);

// DataCopy in its general form, block counts, lengths and gaps as the call gives them (units of 32 B).
void DataCopyBlocks(Core& core, const char* name, const Place& dst, const Place& src, uint32_t block_count,
                    uint32_t block_len, uint32_t src_gap, uint32_t dst_gap, const Where& where);
// By elements; the bytes must be whole blocks.
void DataCopyCount(Core& core, const char* name, const Place& dst, const Place& src, int64_t count,
                   const Where& where);

struct PadCall {
  uint32_t block_count, block_len;  // length in bytes
  uint32_t src_stride, dst_stride;  // gaps: bytes in GM, blocks in UB
  bool pad;
  uint32_t left, right;  // elements
  uint64_t value;
};
void DataCopyPadOp(Core& core, const char* name, const Place& dst, const Place& src, const PadCall& call,
                   const Where& where);

struct Nd2NzCall {
  uint32_t nd_num, n, d, src_nd_stride, src_d, dst_c0_stride, dst_n_stride, dst_nz_stride;
};
void DataCopyNd2Nz(Core& core, const char* name, const Place& dst, const Place& src, const Nd2NzCall& call,
                   const Where& where);
struct Nz2NdCall {
  uint32_t nd_num, n, d, src_nd_stride, src_n_stride, dst_d_stride, dst_nd_stride;
};
void DataCopyNz2Nd(Core& core, const char* name, const Place& dst, const Place& src, const Nz2NdCall& call,
                   const Where& where);

// L0C to UB and back on the 910: whole fractals (matrix) or their first rows (vector).
struct FractalCopyCall {
  bool matrix = true;
  bool relu = false;
  uint32_t block_count, block_len, src_stride, dst_stride;
};
void DataCopyFractals(Core& core, const char* name, const Place& dst, const Place& src,
                      const FractalCopyCall& call, const Where& where);

struct Load2DCall {
  uint32_t start, repeats, src_stride, dst_gap;
  bool transpose, decreasing;
};
void Load2D(Core& core, const char* name, const Place& dst, const Place& src, const Load2DCall& call,
            const Where& where);
struct Load2DTransposeCall {
  uint32_t start, repeats, src_stride, dst_gap, dst_frac_gap;
};
void Load2DTranspose(Core& core, const char* name, const Place& dst, const Place& src,
                     const Load2DTransposeCall& call, const Where& where);
// Image to columns: L1 holds (C1, H, W, C0); row m of the matrix is an output pixel, column k (C1, filter,
// C0).
struct Load3DCall {
  uint32_t h, w, channels, k_extension, m_extension, k_start, m_start;
  uint32_t stride_w, stride_h, filter_w, filter_h, dilation_w, dilation_h;
  uint8_t pad[4];  // left, right, top, bottom
  bool transpose;
  uint32_t pad_bits;
  bool right;                   // reads the image from the right register
  bool set_image, set_padding;  // else the registers hold
};
void SetImage(Core& core, bool right, int64_t h, int64_t w, const uint8_t pad[4], const Where& where);
void SetLoad3DBoundary(Core& core, int64_t bytes, const Where& where);
void Load3D(Core& core, const char* name, const Place& dst, const Place& src, const Load3DCall& call,
            const Where& where);
void FillFractals(Core& core, const char* name, const Place& dst, uint32_t repeats, uint32_t blocks,
                  uint32_t gap, uint32_t bits, const Where& where);

struct MmadCall {
  Place c, a, b, bias;
  bool has_bias = false;
  uint32_t m, n, k;
  bool init;             // C starts at zero
  bool align_k = false;  // float: A is laid out for a k rounded up to 16
  uint32_t unit_flag = 0;
};
void MmadOp(Core& core, const MmadCall& call, const Where& where);

struct FixpipeCall {
  uint32_t n, m, src_stride, dst_stride;
  uint8_t quant = 0;
  uint64_t factor = 0x3f800000;  // of quantisation, as the register holds it
  Place table;                   // a factor a column, in L1 or the fixpipe's own buffer
  bool relu = false;
  bool row_major = true;
  uint32_t nd_num = 1, src_nd_stride = 0, dst_nd_stride = 0;
  bool channel_split = false;
};
// Registers of the fixpipe that persist from call to call.
void SetNz2Nd(Core& core, uint32_t nd_num, uint32_t src_nd_stride, uint32_t dst_nd_stride);
void SetPreQuant(Core& core, uint64_t bits);
void SetQuantTable(Core& core, const Place& table);
FixpipeCall Nz2NdOf(Core& core);
void FixpipeOp(Core& core, const char* name, const Place& dst, const Place& src, const FixpipeCall& call,
               const Where& where);

}  // namespace ascend_twin
