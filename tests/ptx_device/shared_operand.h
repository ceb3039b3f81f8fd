// An operand of wgmma.mma_async that lies in shared memory.
//
// Source: PTX ISA, "Shared Memory Matrix Layout" and "Matrix Descriptor Format".
#pragma once

#include <cstdint>
#include <vector>

#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {

/// Of either type, a product meets these many bytes of a row of A and of a column of B.
inline constexpr int kFeatureBytes = 32;

/// Rows of A, or columns of B.
struct SharedOperand {
  std::uint64_t descriptor = 0;
  int rows = 0;
  OperandType type = OperandType::kBFloat16;
  /// Rows lie side by side (MN-major), not features (K-major).
  bool is_transposed = false;
};

/// [row, feature]. Throws Fault for a descriptor that is not documented to mean a matrix.
std::vector<float> values_of(const SharedOperand& operand, const ReadShared& read);

}  // namespace dsl::test::ptx
