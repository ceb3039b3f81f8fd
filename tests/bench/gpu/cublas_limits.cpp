#include "tests/bench/gpu/device_limits.h"

#ifdef DSL_CUBLASLT
#include <cublasLt.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/runtime/cuda/stream.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/recorded_calls.h"
#endif

namespace dsl::bench {
#ifdef DSL_CUBLASLT
namespace {

constexpr std::int64_t kSize = 8192;
constexpr std::int64_t kWorkspaceBytes = 64 << 20;
constexpr int kMaxChoices = 8;
/// To find the fastest kernel, which is timed again.
constexpr Effort kTrial{.rounds = 3, .round_seconds = 0.005, .max_repeats = 10, .warm_seconds = 0};

Status blas_status(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  return fail(ErrorCode::kInternal, "see the documentation of cuBLASLt", "{}: {}", what,
              cublasLtGetStatusString(status));
}

struct ProductOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* d = nullptr;
  void* workspace = nullptr;
};

/// Owns what describes d = a^T b, all of kSize x kSize and column by column.
class Product {
 public:
  Product() = default;
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  ~Product() {
    if (preference_ != nullptr) cublasLtMatmulPreferenceDestroy(preference_);
    if (d_ != nullptr) cublasLtMatrixLayoutDestroy(d_);
    if (ab_ != nullptr) cublasLtMatrixLayoutDestroy(ab_);
    if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
    if (handle_ != nullptr) cublasLtDestroy(handle_);
  }

  /// `has_short_sums`: FP8 products are summed with the bits that tensor cores keep.
  Status prepare(cudaDataType_t type, const void* scale, bool has_short_sums) {
    DSL_TRY(blas_status(cublasLtCreate(&handle_), "opening cuBLASLt"));
    DSL_TRY(blas_status(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                        "describing a product"));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    DSL_TRY(set(CUBLASLT_MATMUL_DESC_TRANSA, transposed));
    if (type == CUDA_R_8F_E4M3) {
      DSL_TRY(set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scale));
      DSL_TRY(set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scale));
      DSL_TRY(set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, static_cast<std::int8_t>(has_short_sums)));
    }
    DSL_TRY(blas_status(cublasLtMatrixLayoutCreate(&ab_, type, kSize, kSize, kSize),
                        "describing a matrix"));
    DSL_TRY(blas_status(cublasLtMatrixLayoutCreate(&d_, CUDA_R_16BF, kSize, kSize, kSize),
                        "describing a matrix"));
    DSL_TRY(blas_status(cublasLtMatmulPreferenceCreate(&preference_), "choosing a kernel"));
    const std::uint64_t workspace_bytes = kWorkspaceBytes;
    DSL_TRY(blas_status(
        cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace_bytes, sizeof workspace_bytes),
        "choosing a kernel"));
    choices_.resize(kMaxChoices);
    int found = 0;
    DSL_TRY(blas_status(
        cublasLtMatmulAlgoGetHeuristic(handle_, operation_, ab_, ab_, d_, d_, preference_,
                                       kMaxChoices, choices_.data(), &found),
        "choosing a kernel"));
    if (found == 0) return fail(ErrorCode::kNotFound, "", "cuBLASLt has no kernel for it");
    choices_.resize(static_cast<std::size_t>(found));
    return {};
  }

  /// Kernels, those that cuBLASLt thinks faster first.
  std::size_t num_choices() const { return choices_.size(); }

  Status start(std::size_t choice, const ProductOperands& operands,
               const cuda::Stream& stream) const {
    const float one = 1;
    const float zero = 0;
    const auto& [a, b, d, workspace] = operands;
    return blas_status(
        cublasLtMatmul(handle_, operation_, &one, a, ab_, b, ab_, &zero, d, d_, d, d_,
                       &choices_[choice].algo, workspace, kWorkspaceBytes, stream.get()),
        "starting a product");
  }

 private:
  template <typename T>
  Status set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return blas_status(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof value),
                       "describing a product");
  }

  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t ab_ = nullptr;
  cublasLtMatrixLayout_t d_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  std::vector<cublasLtMatmulHeuristicResult_t> choices_;
};

Result<std::vector<float>> read_column(const DeviceTensor& matrix, DType dtype, std::int64_t col) {
  const std::int64_t col_bytes = kSize * static_cast<std::int64_t>(size_of(dtype));
  DSL_ASSIGN(const auto bytes, matrix.read(matrix.data() + col * col_bytes, col_bytes));
  WeightView view{bytes.data(), dtype, 1, kSize, kSize, {}};
  const float one = 1;
  view.scales = {&one, DType::kF32, 1, 1, kSize, 0, 0};
  std::vector<float> values(kSize);
  ref::decode_row(view, 0, values.data());
  return values;
}

/// A few elements against sums in double precision.
Status verify(const DeviceTensor& a, const DeviceTensor& b, const DeviceTensor& d, DType dtype) {
  // Tensor cores keep fewer bits of sums of FP8 products.
  const double tolerance = dtype == DType::kBF16 ? 0.5 : 5;
  for (const std::int64_t row : {std::int64_t{0}, std::int64_t{4711}, kSize - 1}) {
    const std::int64_t col = kSize - 1 - row / 2;
    DSL_ASSIGN(const std::vector<float> of_a, read_column(a, dtype, row));
    DSL_ASSIGN(const std::vector<float> of_b, read_column(b, dtype, col));
    DSL_ASSIGN(const std::vector<float> of_d, read_column(d, DType::kBF16, col));
    double sum = 0;
    for (std::size_t k = 0; k < of_a.size(); ++k) sum += static_cast<double>(of_a[k]) * of_b[k];
    const double actual = of_d[static_cast<std::size_t>(row)];
    if (!(std::abs(actual - sum) <= 0.01 * std::abs(sum) + tolerance)) {
      return fail(ErrorCode::kInternal, "", "cuBLASLt computed {} instead of {}", actual, sum);
    }
  }
  return {};
}

}  // namespace

Result<Measurement> measure_cublas(const Effort& effort, bool is_fp8) {
  const DType dtype = is_fp8 ? DType::kF8E4M3 : DType::kBF16;
  DSL_ASSIGN(const Device device, cuda::open_cuda_device(0));
  DSL_ASSIGN(const cuda::Stream stream, cuda::Stream::open(0));
  Memory& memory = *device.memory;
  DSL_ASSIGN(const auto scale, DeviceTensor::copy_of(memory, std::vector<float>{1}));
  DSL_ASSIGN(const auto d, DeviceTensor::make(memory, kSize * kSize * 2));
  DSL_ASSIGN(const auto workspace, DeviceTensor::make(memory, kWorkspaceBytes));
  // Filled last: filling waits for the device.
  DSL_ASSIGN(const auto a, DeviceTensor::random(memory, kSize * kSize, dtype, {.key = 1}));
  DSL_ASSIGN(const auto b, DeviceTensor::random(memory, kSize * kSize, dtype, {.key = 2}));
  const ProductOperands operands{a.data(), b.data(), d.data(), workspace.data()};
  const auto seconds_of = [&](const Product& product, std::size_t choice,
                              const Effort& time) -> Result<double> {
    const auto start = [&] { return product.start(choice, operands, stream); };
    DSL_TRY(start());
    DSL_TRY(stream.wait());
    DSL_TRY(verify(a, b, d, dtype));
    return called_seconds(time, start, [&] { return stream.wait(); });
  };

  Result<Measurement> best = fail(ErrorCode::kNotFound, "", "cuBLASLt has no kernel for it");
  for (const bool has_short_sums : {false, true}) {
    if (has_short_sums && !is_fp8) continue;
    Product product;
    const Status prepared =
        product.prepare(is_fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF, scale.data(), has_short_sums);
    if (!prepared) continue;
    std::size_t fastest = 0;
    double fastest_seconds = std::numeric_limits<double>::infinity();
    for (std::size_t choice = 0; choice < product.num_choices(); ++choice) {
      // One that fails or is wrong is no limit.
      const Result<double> seconds = seconds_of(product, choice, kTrial);
      if (!seconds || *seconds >= fastest_seconds) continue;
      fastest = choice;
      fastest_seconds = *seconds;
    }
    DSL_ASSIGN(const double seconds, seconds_of(product, fastest, effort));
    if (best && best->seconds <= seconds) continue;
    best = Measurement{.seconds = seconds,
                       .flops = 2.0 * kSize * kSize * kSize,
                       .is_fp8 = is_fp8,
                       .note = fmt::format("kernel {} of {}{}", fastest + 1, product.num_choices(),
                                           has_short_sums ? ", short sums" : "")};
  }
  return best;
}
#else
Result<Measurement> measure_cublas(const Effort&, bool) {
  return fail(ErrorCode::kNotFound, "install it and build again", "built without cuBLASLt");
}
#endif

}  // namespace dsl::bench
