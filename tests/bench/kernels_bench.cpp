// Rates of the kernels as fractions of this machine's limits: memory reads for one row,
// multiply-adds for many. Usage: kernels_bench [--threads N] [--variant NAME] [--filter TEXT].
// Results are verified before they are timed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/cpu/kernel_table.h"
#include "engine/kernels/dispatch.h"
#include "engine/runtime/aligned_buffer.h"
#include "engine/runtime/read_bandwidth.h"

namespace dsl {
namespace {

constexpr int kPasses = 9;
/// Weights of a pass: far more than the caches hold.
constexpr std::int64_t kPassBytes = std::int64_t{384} << 20;

struct Options {
  int threads = 0;
  std::string variant = "auto";
  std::string filter;
  bool cpu_clock = false;
};

/// 0 for wall time, else the number of threads that share the process's CPU time.
int cpu_clock_threads = 0;

struct Limits {
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

double now() {
  timespec time{};
  clock_gettime(cpu_clock_threads > 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  const double seconds =
      static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  return cpu_clock_threads > 0 ? seconds / cpu_clock_threads : seconds;
}

double seconds_of(const std::function<void()>& job) {
  const double start = now();
  job();
  return now() - start;
}

double median_seconds(const std::function<void()>& job) {
  job();
  std::vector<double> times(kPasses);
  for (double& time : times) time = seconds_of(job);
  std::nth_element(times.begin(), times.begin() + kPasses / 2, times.end());
  return times[kPasses / 2];
}

/// Random finite bits, made once and shared: values do not matter for speed, but NaN and subnormals
/// would.
class WeightBytes {
 public:
  explicit WeightBytes(std::int64_t size) : buffer_(static_cast<std::size_t>(size)) {
    std::mt19937_64 random(1);
    auto* words = reinterpret_cast<std::uint64_t*>(buffer_.data());
    // As BF16: 0.5 .. 2 with both signs; as E4M3: exponents 6 and 7 or so.
    for (std::int64_t i = 0; i < size / 8; ++i) {
      words[i] = (random() & 0x807f807f807f807full) | 0x3f003f003f003f00ull;
    }
  }
  const std::byte* data() const { return buffer_.data(); }

 private:
  AlignedBuffer buffer_;
};

class Bench {
 public:
  Bench(const Options& options, Ops& ops, Ops& reference, Limits limits)
      : options_(options),
        ops_(ops),
        reference_(reference),
        limits_(limits),
        weights_(kPassBytes),
        scales_(1 << 16, 0.01f) {}

  void linear(const std::string& name, DType dtype, std::int64_t rows, std::int64_t out,
              std::int64_t in, bool tree) {
    if (name.find(options_.filter) == std::string::npos) return;
    const WeightView whole = weight(dtype, 0, out, in);
    const std::int64_t copies = rows == 1 ? kPassBytes / (out * in * element_bytes(dtype)) : 1;
    Activations x(rows, in);
    std::vector<float> y(static_cast<std::size_t>(rows * out));
    const LeafSplit split{in, 0, 1};
    const auto run = [&](Ops& ops, const WeightView& w, const Matrix& result) {
      if (tree) {
        ops.linear_tree(x.view(), w, split, result.as<float>());
      } else {
        ops.linear(x.view(), w, result);
      }
    };
    const Matrix result{y.data(), DType::kF32, rows, out, out};
    run(ops_, whole, result);
    std::vector<float> expected(static_cast<std::size_t>(rows * 16));
    run(reference_, whole.rows_from(0, 16), {expected.data(), DType::kF32, rows, 16, 16});
    for (std::int64_t i = 0; i < rows * 16; ++i) {
      verify(name, y[static_cast<std::size_t>(i / 16 * out + i % 16)],
             expected[static_cast<std::size_t>(i)], std::sqrt(static_cast<double>(in)));
    }
    const double seconds = median_seconds([&] {
      for (std::int64_t i = 0; i < copies; ++i) run(ops_, weight(dtype, i, out, in), result);
    });
    report(name, seconds / static_cast<double>(copies), whole.bytes(), 2 * rows * out * in);
  }

  void experts(const std::string& name, DType dtype, std::int64_t rows) {
    if (name.find(options_.filter) == std::string::npos) return;
    constexpr std::int64_t kHidden = 2048;
    constexpr std::int64_t kInner = 1408;
    constexpr std::int64_t kTopK = 6;
    const std::int64_t part = kHidden * kInner * element_bytes(dtype);
    const std::int64_t num_experts = std::min<std::int64_t>(64, kPassBytes / (3 * part) / 8 * 8);
    std::vector<ExpertWeights> all;
    for (std::int64_t e = 0; e < num_experts; ++e) {
      all.push_back({at(dtype, (3 * e) * part, kInner, kHidden),
                     at(dtype, (3 * e + 1) * part, kInner, kHidden),
                     at(dtype, (3 * e + 2) * part, kHidden, kInner)});
    }
    // Passes over all experts: one row chooses the next six each time, many rows spread evenly.
    std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * kTopK));
    const std::vector<float> shares(ids.size(), 0.1f);
    Activations x(rows, kHidden);
    const LeafSplit split{num_experts, 0, 1};
    std::vector<float> sums(static_cast<std::size_t>(kNumLeaves * rows * kHidden), 0.0f);
    const LeafSums leaves{sums.data(), kNumLeaves, rows, kHidden};
    std::vector<float> joined(static_cast<std::size_t>(rows * kHidden));
    const MatrixView<float> out{joined.data(), rows, kHidden, kHidden};
    const auto choose = [&](std::int64_t first) {
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t k = 0; k < kTopK; ++k) {
          ids[static_cast<std::size_t>(row * kTopK + k)] =
              static_cast<std::int32_t>((first + row * kTopK + k) % (num_experts / kTopK * kTopK));
        }
        std::sort(ids.begin() + row * kTopK, ids.begin() + (row + 1) * kTopK);
      }
    };
    const Routing routing{ids.data(), const_cast<float*>(shares.data()), rows, kTopK};
    const std::int64_t steps = rows == 1 ? num_experts / kTopK : 1;
    choose(0);
    ops_.routed_experts(x.view(), routing, all, split, leaves, out);
    const double seconds = median_seconds([&] {
      for (std::int64_t step = 0; step < steps; ++step) {
        choose(step * kTopK);
        ops_.routed_experts(x.view(), routing, all, split, leaves, out);
      }
    });
    const std::int64_t distinct = rows == 1 ? kTopK : num_experts / kTopK * kTopK;
    report(name, seconds / static_cast<double>(steps), distinct * 3 * part,
           rows * kTopK * 3 * kHidden * kInner * 2);
  }

  /// V2-Lite's attention for `rows` tokens at the end of `positions`, once per generated sequence
  /// in the absorbed form.
  void attention(const std::string& name, MlaForm form, std::int64_t rows, std::int64_t positions) {
    if (name.find(options_.filter) == std::string::npos) return;
    const MlaShape shape{16, 128, 64, 128, 512, 0.1147214f};
    const std::int64_t q_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim;
    const std::int64_t head_rows = shape.qk_nope_head_dim + shape.v_head_dim;
    const std::int64_t width = shape.kv_lora_rank + shape.qk_rope_head_dim;
    constexpr std::int64_t kBlockTokens = 64;
    const std::int64_t num_blocks = (positions + kBlockTokens - 1) / kBlockTokens;
    const Activations q(rows, shape.num_heads * q_dim);
    const Activations cached(num_blocks * kBlockTokens, width);
    const LatentCache cache{cached.view().data, DType::kBF16,       num_blocks,
                            kBlockTokens,       shape.kv_lora_rank, shape.qk_rope_head_dim};
    std::vector<std::int32_t> table(static_cast<std::size_t>(num_blocks));
    std::iota(table.begin(), table.end(), 0);
    const WeightView kv_b = at(DType::kBF16, 0, shape.num_heads * head_rows, shape.kv_lora_rank);
    std::vector<BFloat16> y(static_cast<std::size_t>(rows * shape.num_heads * shape.v_head_dim));
    const Matrix out{y.data(), DType::kBF16, rows, shape.num_heads * shape.v_head_dim,
                     shape.num_heads * shape.v_head_dim};
    const AttentionSegment segments[] = {{0, rows, positions - rows, form, table}};
    const double seconds =
        median_seconds([&] { ops_.mla_attention(q.view(), kv_b, cache, segments, shape, out); });
    const std::int64_t pairs = rows * (2 * positions - rows + 1) / 2;
    const bool expanded = form == MlaForm::kExpanded;
    const std::int64_t projections = expanded ? positions : rows;
    const std::int64_t per_pair = expanded ? q_dim + shape.v_head_dim : width + shape.kv_lora_rank;
    report(name, seconds, kv_b.bytes() + positions * width * 2,
           2 * shape.num_heads * (projections * head_rows * shape.kv_lora_rank + pairs * per_pair));
  }

 private:
  /// BF16 activations of about unit size.
  class Activations {
   public:
    Activations(std::int64_t rows, std::int64_t cols)
        : data_(static_cast<std::size_t>(rows * cols)),
          view_{data_.data(), DType::kBF16, rows, cols, cols} {
      std::mt19937 random(2);
      std::normal_distribution<float> normal;
      for (BFloat16& value : data_) value = to_bfloat16(normal(random));
    }
    const Matrix& view() const { return view_; }

   private:
    std::vector<BFloat16> data_;
    Matrix view_;
  };

  static std::int64_t element_bytes(DType dtype) {
    return static_cast<std::int64_t>(size_of(dtype));
  }

  WeightView at(DType dtype, std::int64_t offset, std::int64_t out, std::int64_t in) const {
    WeightView view{weights_.data() + offset, dtype, out, in, in, {}};
    view.scales = {scales_.data(), DType::kF32, (in + 127) / 128, 128, 128, 0, 0};
    return view;
  }

  WeightView weight(DType dtype, std::int64_t copy, std::int64_t out, std::int64_t in) const {
    return at(dtype, copy * out * in * element_bytes(dtype), out, in);
  }

  static void verify(const std::string& name, double actual, double expected, double size) {
    if (std::abs(actual - expected) > 1e-3 * size + 1e-3 * std::abs(expected)) {
      fmt::print(stderr, "{}: wrong result: {} instead of {}\n", name, actual, expected);
      std::exit(1);
    }
  }

  void report(const std::string& name, double seconds, std::int64_t bytes, std::int64_t flops) {
    const double byte_rate = static_cast<double>(bytes) / seconds;
    const double flop_rate = static_cast<double>(flops) / seconds;
    // The bandwidth is a wall-clock figure: beside CPU time it says nothing.
    const std::string byte_fraction =
        cpu_clock_threads > 0 ? "-" : fmt::format("{:.2f}", byte_rate / limits_.bytes_per_second);
    fmt::print("{:<34} {:>9.3f} ms {:>8.2f} GB/s {:>5} {:>9.1f} GFLOP/s {:>5.2f}\n", name,
               seconds * 1e3, byte_rate * 1e-9, byte_fraction, flop_rate * 1e-9,
               flop_rate / limits_.flops_per_second);
  }

  const Options& options_;
  Ops& ops_;
  Ops& reference_;
  const Limits limits_;
  WeightBytes weights_;
  std::vector<float> scales_;
};

double measure_dot_peak(ThreadPool& pool, std::string_view variant) {
  const cpu::KernelTable* table = nullptr;
  for (const auto* candidate :
       {&cpu::avx2_kernels(), &cpu::avx512_kernels(), &cpu::avx512_bf16_kernels()}) {
    if (candidate->name == variant) table = candidate;
  }
  if (table == nullptr) return 0;
  std::int64_t flops = 0;
  const double seconds = median_seconds([&] {
    pool.run([&](int thread) {
      const std::int64_t done = table->spin(2'000'000);
      if (thread == 0) flops = done * pool.size();
    });
  });
  return static_cast<double>(flops) / seconds;
}

int run(const Options& options) {
  auto pool = ThreadPool::create({.num_threads = options.threads});
  if (!pool) return fmt::print(stderr, "{}\n", pool.error().to_string()), 1;
  auto ops = make_ops({.variant = options.variant}, **pool);
  if (!ops) return fmt::print(stderr, "{}\n", ops.error().to_string()), 1;
  auto reference = make_ops({.variant = "scalar"}, **pool);
  if (!reference) return fmt::print(stderr, "{}\n", reference.error().to_string()), 1;
  auto bandwidth = measure_read_bandwidth(**pool);
  if (!bandwidth) return fmt::print(stderr, "{}\n", bandwidth.error().to_string()), 1;
  if (options.cpu_clock) cpu_clock_threads = (*pool)->size();
  const Limits limits{*bandwidth, measure_dot_peak(**pool, (*ops)->name())};
  fmt::print("variant {}, {} threads: reads {:.2f} GB/s, multiply-adds {:.1f} GFLOP/s\n",
             (*ops)->name(), (*pool)->size(), limits.bytes_per_second * 1e-9,
             limits.flops_per_second * 1e-9);
  fmt::print("{:<34} {:>12} {:>13} {:>5} {:>17} {:>5}\n", "median of 9", "time", "weights", "frac",
             "arithmetic", "frac");
  Bench bench(options, **ops, **reference, limits);
  for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
    const std::string type = dtype == DType::kBF16 ? "bf16" : "fp8";
    for (const std::int64_t rows : {1, 24, 256}) {
      const std::string suffix = fmt::format(" {} M={}", type, rows);
      bench.linear("linear [2048,2048]" + suffix, dtype, rows, 2048, 2048, false);
      bench.linear("linear [10944,2048]" + suffix, dtype, rows, 10944, 2048, false);
      bench.linear("linear_tree [2048,2048]" + suffix, dtype, rows, 2048, 2048, true);
      bench.linear("linear_tree [2048,10944]" + suffix, dtype, rows, 2048, 10944, true);
      bench.experts("experts top-6, 2048x1408" + suffix, dtype, rows);
    }
  }
  bench.attention("attention of 256 of 256", MlaForm::kExpanded, 256, 256);
  bench.attention("attention of 256 of 4096", MlaForm::kExpanded, 256, 4096);
  bench.attention("attention of 1 of 256, absorbed", MlaForm::kAbsorbed, 1, 256);
  bench.attention("attention of 1 of 4096, absorbed", MlaForm::kAbsorbed, 1, 4096);
  return 0;
}

}  // namespace
}  // namespace dsl

int main(int argc, char** argv) {
  dsl::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) options.threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--variant") == 0) options.variant = argv[i + 1];
    if (std::strcmp(argv[i], "--filter") == 0) options.filter = argv[i + 1];
    if (std::strcmp(argv[i], "--clock") == 0)
      options.cpu_clock = std::strcmp(argv[i + 1], "cpu") == 0;
  }
  return dsl::run(options);
}
