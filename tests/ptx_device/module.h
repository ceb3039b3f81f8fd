// PTX as nvcc writes it, and grids of its kernels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsl::test::ptx {

/// A parameter's place in the bytes that a grid gets.
struct Parameter {
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
};

struct Kernel;

/// Owns the text and the kernels; not thread-safe.
class Module {
 public:
  explicit Module(std::string text);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Parsed when it is first asked for. Throws Fault for a name that is not there and for
  /// instructions that this device does not know.
  const Kernel& kernel(std::string_view name);

 private:
  std::string text_;
  std::map<std::string, std::string_view, std::less<>> sources_;
  std::map<std::string, std::unique_ptr<Kernel>, std::less<>> kernels_;
};

std::span<const Parameter> parameters_of(const Kernel& kernel);

struct GridShape {
  std::array<std::uint32_t, 3> grid{1, 1, 1};  // blocks
  std::uint32_t threads = 1;                   // of a block
  std::uint32_t shared_bytes = 0;              // dynamic shared memory
  bool may_start_early = false;                // every thread must take its turn then
  bool follows_kernel = true;  // which may not have ended when this one starts early
};

/// Memory that kernels may touch.
struct MemoryArea {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

/// Runs the kernel for all threads of the grid. Throws Fault.
void run_grid(const Kernel& kernel, const GridShape& shape, std::span<const std::byte> parameters,
              std::span<const MemoryArea> memory);

}  // namespace dsl::test::ptx
