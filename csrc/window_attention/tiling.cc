// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "window_attention/tiling_host.h"

namespace swinv2 {
namespace {

constexpr int64_t kBlock = 16, kFractal = 512, kBlockBytes = 32;
constexpr int64_t kMaxBlocks =
    63;  // a pass over the scores of a block is one instruction of at most 255 repeats
constexpr int64_t kMaxChannels = 65535 * kBlockBytes / 2;  // the longest stride between tokens
constexpr int32_t kMaxBlocksTogether = 5;
constexpr int64_t kStageBytes = 32 * 1024;  // long enough bursts; two of them
constexpr int64_t kScoreBytes = 64 * 1024;  // a slot of scores in L0C

struct Sizes {
  int64_t n, n1, d, d1, g, phases, classes, class_blocks;
  explicit Sizes(const WindowAttentionTiling910& t)
      : n(int64_t{t.window_h} * t.window_w),
        n1(t.blocks),
        d(t.head_dim),
        d1(t.head_dim / kBlock),
        g(t.head_group),
        phases(t.phases),
        classes(t.classes),
        class_blocks(divide_up(t.blocks, t.classes)) {}
  int64_t token_bytes() const { return (phases == 1 ? 3 : 2) * g * d * 2; }  // as staged
};

// Buffers as the kernel's constructor makes them.
int64_t ub_bytes(const WindowAttentionTiling910& t) {
  const Sizes s(t);
  const int64_t scores = int64_t{t.tile_blocks} * s.n1 * 1024;
  const int64_t folds = std::max(scores * 3 / 4, (s.d1 + 2) * t.tile_blocks * 1024);
  return scores + folds + t.weight_slots * scores / 2 + t.panel_slots * t.panel_rows * 64  // weights, panels
         + s.n1 * (t.norm_units * 1024 + (t.norm_units > 1 ? t.norm_units * 512 : 256) +
                   256)                                                           // key scales, norms, lse
         + t.tile_blocks * (2 * 256 + s.d1 * kFractal)                            // maxima, outputs
         + 2 * t.stage_tokens * s.token_bytes() + t.stage_tokens * s.g * s.d * 2  // staging in and out
         + 1024 + 1024 + 256 +
         std::max<int64_t>(s.g * s.d * 2, kFractal);  // identity, mask, constants, zeros
}

int64_t task_l1_bytes(const WindowAttentionTiling910& t) {
  const Sizes s(t);
  const int64_t slabs = s.phases == 1 ? t.strip * s.g * 3 : s.g * 7 / 3;
  return slabs * s.d1 * s.n1 * kFractal;
}

int64_t l1_bytes(const WindowAttentionTiling910& t, int64_t slots) {
  return slots * task_l1_bytes(t) + int64_t{t.tile_blocks} * t.key_blocks * kFractal;
}

void cut_bias(WindowAttentionTiling910& t) {
  const int32_t n = t.window_h * t.window_w;
  if (n % kBlock) {
    // Every block has rows of its own, those beyond N forbid the keys there; few of them make one panel.
    const bool together = t.blocks <= kMaxBlocksTogether;
    t.classes = together ? 1 : t.blocks;
    t.panel_rows = t.blocks * 16 * (together ? t.blocks : 1);
    return;
  }
  // Blocks of one class start every Ww / gcd(16, Ww) blocks.
  t.classes = std::min(t.window_w / std::gcd(t.window_w, 16), t.blocks);
  const int32_t class_blocks = divide_up(t.blocks, t.classes);
  const int32_t rise =
      (class_blocks - 1) * t.classes * 16 / t.window_w;  // window rows from first to last block
  t.panel_rows = (rise + t.window_h) * t.window_w;
}

// Two slots of panels and weights before one, then the largest tile, then long staging.
bool cut_tiles(WindowAttentionTiling910& t, const ChipLimits& chip) {
  const Sizes s(t);
  t.norm_units = std::min<int64_t>(s.n1 <= 4 ? 4 : s.n1 <= 9 ? 2 : 1, s.g * t.strip);
  if (s.phases == 2) t.norm_units = std::gcd(int64_t{t.norm_units}, s.g / 3);
  for (int32_t slots = 3; slots >= 0; --slots)
    for (int32_t target : {4, 3, 2, 1}) {
      const int64_t tiles = divide_up(s.class_blocks, target);
      t.tile_blocks = divide_up(s.class_blocks, tiles);
      if (t.tile_blocks * s.n1 * 1024 > kScoreBytes) continue;
      // L0B holds queries and, of a chunk of keys, values, probabilities and ones; L0A no more than that.
      const int64_t keys = (chip.l0b / kFractal - t.tile_blocks * s.d1) / (s.d1 + t.tile_blocks + 1);
      t.key_blocks = divide_up(s.n1, divide_up(s.n1, keys));
      t.weight_slots = 1 + (slots & 1), t.panel_slots = 1 + (slots >> 1);
      t.stage_tokens = 0;
      const int64_t left = std::min<int64_t>((chip.ub - ub_bytes(t)) / (2 * s.token_bytes() + s.g * s.d * 2),
                                             kStageBytes / s.token_bytes());
      const int64_t width = int64_t{t.strip} * t.window_w;
      if (left < std::min<int64_t>(s.n, 4) || (t.strip > 1 && left < width)) continue;
      // Whole rows of the strip where they fit, else even parts of a window's.
      const int64_t row = t.window_w / s.phases;
      t.stage_tokens = left >= width ? std::min(left / width * width, t.strip * s.n)
                                     : s.phases * divide_up(row, divide_up(row, left / s.phases));
      t.qkv_slots = s.phases == 1 && l1_bytes(t, 2) <= chip.l1 ? 2 : 1;
      const MemoryUse use = memory_use(t);
      if (use.l1 <= chip.l1 && use.l0a <= chip.l0a && use.l0b <= chip.l0b && use.l0c <= chip.l0c) return true;
    }
  return false;
}

// Whether the thirds of the heads may come in two phases (tiling.h): two of them are whole sectors, pairs of
// tokens stay together, each half of a window's keys is whole blocks.
bool comes_in_thirds(const WindowAttentionTiling910& t, const ChipLimits& chip) {
  return t.heads % 3 == 0 && t.heads / 3 * 2 * t.head_dim * 2 % chip.gm_sector == 0 && t.window_w % 2 == 0 &&
         t.shift_w % 2 == 0 && t.window_h * t.window_w % (2 * kBlock) == 0 && t.valid_h == t.height &&
         t.valid_w == t.width;
}

// Sectors of the bursts of `count` tokens, `bytes` long, `stride` apart, from byte `at` on: one instruction
// reads a sector once.
int64_t sector_bytes(int64_t at, int64_t count, int64_t bytes, int64_t stride, int64_t sector) {
  int64_t sum = 0, last = -1;
  for (int64_t i = 0; i < count; ++i, at += stride) {
    const int64_t first = std::max(at / sector, last + 1);
    last = (at + bytes - 1) / sector;
    sum += last - first + 1;
  }
  return sum * sector;
}

// Cycles of the vector unit for a window and head, from the published costs: seven passes over the scores, 20
// instructions to start a tile.
double vector_cycles(const WindowAttentionTiling910& t) {
  const Sizes s(t);
  const int64_t tiles = s.classes * divide_up(s.class_blocks, t.tile_blocks);
  return 9.4 / 64 * double(s.n1 * 16) * double(s.n1 * 16) + 440. * double(tiles);
}

}  // namespace

const ChipLimits& chip_of(const char* soc) {
  for (const ChipLimits* chip : {&kAscend910, &kAscend910B})
    if (!std::strcmp(chip->name, soc)) return *chip;
  fail("soc: expected ascend910 or ascend910b, got '", soc, "'");
}

void fail_to_fit(const WindowAttention& op, const ChipLimits& chip) {
  fail("window_size: a window of ", op.geometry.window_h, " x ", op.geometry.window_w, " at head_dim ",
       op.head_dim, " does not fit the memories of ", chip.name, "; use a smaller window");
}

WindowAttentionProblem problem_of(const WindowAttention& op) {
  const WindowGeometry& g = op.geometry;
  if (g.windows() * op.num_heads > INT32_MAX)
    fail("qkv: expected fewer than 2^31 heads of windows, got ", g.windows(), " windows of ", op.num_heads,
         " heads; split the batch");
  WindowAttentionProblem t{};
  t.batch = g.batch, t.height = g.height, t.width = g.width;
  t.window_h = g.window_h, t.window_w = g.window_w;
  t.shift_h = g.shift_h, t.shift_w = g.shift_w;
  t.valid_h = g.valid_h, t.valid_w = g.valid_w;
  t.heads = op.num_heads, t.head_dim = op.head_dim;
  t.cosine = op.cosine;
  t.bfloat16 = op.dtype == DType::kBFloat16;
  t.mask_value = std::max(op.mask_value, kForbidden);
  return t;
}

void check_910(const WindowAttention& op, const ChipLimits& chip) {
  if (op.dtype != DType::kFloat16)
    fail("qkv: expected float16 on ", chip.name, ", whose cube unit multiplies nothing else, got ",
         dtype_name(op.dtype), "; cast qkv to float16 (bias_table and scale stay float32)");
  if (op.head_dim % kBlock || op.head_dim > 64)
    fail("qkv: expected head_dim 16, 32, 48 or 64 on ", chip.name, ", got ", op.head_dim,
         "; use another back end");
  if (const int64_t channels = 3 * op.num_heads * op.head_dim; channels > kMaxChannels)
    fail("qkv: expected at most ", kMaxChannels, " channels on ", chip.name, ", got ", channels,
         "; use another back end");
  if (op.geometry.window_w > 127)
    fail("window_size: expected at most 127 columns on ", chip.name, ", got ", op.geometry.window_w,
         "; use another back end");
  if (op.geometry.window_h > 255)  // the most repeats of an instruction
    fail("window_size: expected at most 255 rows on ", chip.name, ", got ", op.geometry.window_h,
         "; use another back end");
  if (op.geometry.tokens() > kMaxBlocks * kBlock)
    fail("window_size: expected at most ", kMaxBlocks * kBlock, " tokens on ", chip.name, ", got ",
         op.geometry.window_h, " x ", op.geometry.window_w, "; use a smaller window");
}

WindowAttentionTiling910 tile_window_attention(const WindowAttention& op, const ChipLimits& chip) {
  const WindowGeometry& g = op.geometry;
  check_910(op, chip);
  WindowAttentionTiling910 t{};
  static_cast<WindowAttentionProblem&>(t) = problem_of(op);
  t.blocks = divide_up(g.tokens(), kBlock);
  cut_bias(t);

  // The cheapest group of heads and strip of windows: cycles of the busiest core, bound by its vector unit or
  // by its sectors.
  WindowAttentionTiling910 best{};
  double best_cost = 0;
  int64_t best_bytes = 0;
  const auto consider = [&](int32_t group, int32_t strip, int32_t phases) {
    t.head_group = group, t.strip = strip, t.phases = phases;
    if (!cut_tiles(t, chip)) return;
    const int64_t tasks = g.windows() / strip * (t.heads / group);
    t.tasks = tasks;
    t.cores = std::min<int64_t>(chip.cores, tasks);
    const Traffic moved = traffic(t, chip);
    const int64_t bytes = moved.qkv_out + moved.bias;
    const double per_task =
        std::max(strip * group * vector_cycles(t), double(bytes) / tasks / chip.gm_bytes_per_cycle);
    const double cost = divide_up(tasks, t.cores) * per_task;
    const bool even = cost < best_cost * 1.001;
    if (best_bytes == 0 || cost < best_cost * 0.999 || (even && bytes < best_bytes) ||
        (even && bytes == best_bytes && t.qkv_slots > best.qkv_slots)) {
      best = t;
      best_cost = cost;
      best_bytes = bytes;
    }
  };
  for (int32_t group = t.heads; group > 0; --group)
    if (t.heads % group == 0) consider(group, 1, 1);
  for (int32_t strip = 2; strip <= g.cols(); ++strip)
    if (g.cols() % strip == 0) consider(t.heads, strip, 1);
  if (comes_in_thirds(t, chip)) consider(t.heads, 1, 2);
  if (best_bytes == 0) fail_to_fit(op, chip);
  return best;
}

MemoryUse memory_use(const WindowAttentionTiling910& t) {
  const Sizes s(t);
  const int64_t chunk = t.key_blocks * (s.d1 + t.tile_blocks + 1) * kFractal;  // k or v, p^T, ones
  return {ub_bytes(t), l1_bytes(t, t.qkv_slots), chunk, t.tile_blocks * s.d1 * kFractal + chunk,
          2 * int64_t{t.tile_blocks} * t.blocks * 1024 + (s.d1 + 2) * t.tile_blocks * 1024 +
              2 * t.norm_units * s.n1 * 1024};
}

Traffic traffic(const WindowAttentionTiling910& t, const ChipLimits& chip) {
  const int64_t channels = int64_t{t.heads} * t.head_dim, group = int64_t{t.head_group} * t.head_dim;
  const int64_t windows = int64_t{t.batch} * (t.height / t.window_h) * (t.width / t.window_w);
  const int64_t panels = t.classes > 1 ? windows * t.classes : windows / t.strip;
  Traffic sum{0, 0, panels * t.heads * t.panel_rows * 64};
  // Every image row is cut into runs of tokens at the same columns.
  std::vector<std::pair<int64_t, int64_t>> runs;  // first column, count
  const int64_t width = int64_t{t.strip} * t.window_w;
  for (int64_t begin = 0; begin < t.width; begin += width) {
    const int64_t x = begin + t.shift_w, first = std::min<int64_t>(width, t.width - x);
    for (const auto& run : {std::make_pair(x, first), std::make_pair(int64_t{0}, width - first)}) {
      const int64_t count = std::min(run.second, t.valid_w - run.first);
      for (int64_t at = 0; at < count; at += t.stage_tokens)
        runs.emplace_back(run.first + at, std::min<int64_t>(t.stage_tokens, count - at));
    }
  }
  const int64_t rows = int64_t{t.batch} * t.height;
  const int64_t period =
      chip.gm_sector / kBlockBytes;  // rows repeat their alignment at the latest after so many
  std::vector<int64_t> cost(std::min(rows, period));
  for (size_t row = 0; row < cost.size(); ++row)
    for (const auto& run : runs) {
      const int64_t token = int64_t(row) * t.width + run.first;
      for (int64_t h = 0; h < channels; h += group) {
        if (group == channels)  // in two phases too: their pieces are whole sectors
          cost[row] += sector_bytes(token * 3 * channels * 2, run.second, 3 * channels * 2, 3 * channels * 2,
                                    chip.gm_sector);
        else
          for (int64_t part = 0; part < 3; ++part)
            cost[row] += sector_bytes((token * 3 * channels + part * channels + h) * 2, run.second, group * 2,
                                      3 * channels * 2, chip.gm_sector);
        cost[row] +=
            sector_bytes((token * channels + h) * 2, run.second, group * 2, channels * 2, chip.gm_sector);
      }
    }
  for (int64_t row = 0; row < rows; ++row) {
    if (row % t.height >= t.valid_h) continue;
    sum.qkv_out += cost[row % int64_t(cost.size())];
    sum.compulsory += int64_t{t.valid_w} * 4 * channels * 2;
  }
  return sum;
}

std::vector<int64_t> runs_of_cores(int64_t tasks, int64_t cores, int64_t work) {
  std::vector<int64_t> runs;
  for (int64_t core = 0; core < cores; ++core)
    runs.push_back(((core + 1) * tasks / cores - core * tasks / cores) * work);
  return runs;
}

int64_t workspace_bytes(const WindowAttentionTiling910&) {
  return 0;
}

std::vector<int64_t> work_of_cores(const WindowAttentionTiling910& t) {
  return runs_of_cores(t.tasks, t.cores, t.head_group * t.strip);
}

Fields fields(const WindowAttentionProblem& t) {
  return {SWINV2_FIELD(batch),    SWINV2_FIELD(height),    SWINV2_FIELD(width),    SWINV2_FIELD(window_h),
          SWINV2_FIELD(window_w), SWINV2_FIELD(shift_h),   SWINV2_FIELD(shift_w),  SWINV2_FIELD(valid_h),
          SWINV2_FIELD(valid_w),  SWINV2_FIELD(heads),     SWINV2_FIELD(head_dim), SWINV2_FIELD(cosine),
          SWINV2_FIELD(bfloat16), SWINV2_FIELD(mask_value)};
}

Fields fields(const WindowAttentionTiling910& t) {
  return joined(fields(static_cast<const WindowAttentionProblem&>(t)),
                {SWINV2_FIELD(blocks), SWINV2_FIELD(head_group), SWINV2_FIELD(strip), SWINV2_FIELD(phases),
                 SWINV2_FIELD(tasks), SWINV2_FIELD(cores), SWINV2_FIELD(classes), SWINV2_FIELD(panel_rows),
                 SWINV2_FIELD(norm_units), SWINV2_FIELD(tile_blocks), SWINV2_FIELD(key_blocks),
                 SWINV2_FIELD(stage_tokens), SWINV2_FIELD(weight_slots), SWINV2_FIELD(panel_slots),
                 SWINV2_FIELD(qkv_slots)});
}

Fields joined(Fields first, const Fields& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Shape bias_shape(const WindowAttentionTiling910& t) {
  return {t.heads, t.classes, t.panel_rows, kBlock};
}

std::vector<float> prepare_bias(const WindowAttentionTiling910& t, const float* table) {
  const int64_t n = int64_t{t.window_h} * t.window_w, rows = 2 * t.window_h - 1, width = 2 * t.window_w - 1;
  std::vector<float> panels(int64_t{t.heads} * t.classes * t.panel_rows * kBlock, 0.f);
  // Where N is no multiple of 16, a class is a block, whether or not they share a panel.
  const int64_t classes = n % kBlock ? t.blocks : t.classes,
                class_rows = n % kBlock ? t.blocks * 16 : t.panel_rows;
  float* to = panels.data();
  for (int64_t head = 0; head < t.heads; ++head, table += rows * width)
    for (int64_t c = 0; c < classes; ++c) {
      const int64_t first = c * kBlock, last = first + (t.blocks - 1 - c) / classes * classes * kBlock;
      const int64_t top = last / t.window_w, column = first % t.window_w;
      for (int64_t row = 0; row < class_rows; ++row)
        for (int64_t lane = 0; lane < kBlock; ++lane, ++to) {
          const int64_t dy = top - row / t.window_w + (column + lane) / t.window_w + t.window_h - 1;
          const int64_t dx = (column + lane) % t.window_w - row % t.window_w + t.window_w - 1;
          if (n % kBlock && row >= n)
            *to = kForbidden;
          else if (dy >= 0 && dy < rows)
            *to = table[dy * width + dx];
        }
    }
  return panels;
}

}  // namespace swinv2
