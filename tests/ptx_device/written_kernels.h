// Kernels that tests write in PTX, and what the device for PTX makes of them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/memory_uses.h"
#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {

/// Of every kernel: %r0 is the thread's number, %rd0 where the words begin, %rd2 where its own
/// lies.
inline constexpr std::string_view kDeclarations = R"(
.reg .pred %p<8>;
.reg .b16 %rs<8>;
.reg .b32 %r<16>;
.reg .b64 %rd<16>;
.reg .f32 %f<8>;
ld.param.u64 %rd0, [words];
mov.u32 %r0, %tid.x;
mul.wide.u32 %rd1, %r0, 4;
add.s64 %rd2, %rd0, %rd1;
)";

class WrittenKernels : public ::testing::Test {
 protected:
  void TearDown() override { memory_uses().begin_grid(false); }

  /// Every thread's word after a kernel of one parameter, the address of the words, has run.
  std::vector<std::uint32_t> run(std::string_view body, GridShape shape) {
    Module module(".visible .entry kernel(\n.param .u64 words\n)\n" + limits_ + "\n{" +
                  std::string(kDeclarations) + std::string(body) + "\n}\n");
    const auto address = reinterpret_cast<std::uint64_t>(words_.data());
    std::array<std::byte, sizeof(address)> parameters;
    std::memcpy(parameters.data(), &address, sizeof(address));
    const std::array<MemoryArea, 1> memory = {MemoryArea{
        reinterpret_cast<std::byte*>(words_.data()), words_.size() * sizeof(std::uint32_t)}};
    run_grid(module.kernel("kernel"), shape, parameters, memory);
    return words_;
  }
  std::vector<std::uint32_t> run(std::string_view body) {
    return run(body, {.threads = 64, .shared_bytes = 1024});
  }

  std::string fault_of(std::string_view body, GridShape shape) {
    try {
      run(body, shape);
    } catch (const Fault& fault) {
      return fault.what();
    }
    return "no fault";
  }
  std::string fault_of(std::string_view body) {
    return fault_of(body, {.threads = 64, .shared_bytes = 1024});
  }

  std::string limits_;  // directives that say how it is to be launched
  std::vector<std::uint32_t> words_ = std::vector<std::uint32_t>(64);
};

inline ::testing::AssertionResult tells(const std::string& fault, std::string_view part) {
  if (fault.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << fault << "' does not tell of '" << part << "'";
}

}  // namespace dsl::test::ptx
