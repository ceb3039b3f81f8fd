// Scratch memory for one call tree: a stack of aligned blocks that is allocated once and reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/runtime/aligned_buffer.h"

namespace dsl {

/// Owns scratch that lives until the enclosing Scope ends. The first passes may add blocks; when
/// the workspace is next empty they are replaced by one block of the high-water mark, so a steady
/// state allocates nothing. Thread-compatible: one workspace per thread that allocates.
class Workspace {
 public:
  /// Frees on destruction what was allocated since construction. Scopes nest. Non-owning.
  class Scope {
   public:
    explicit Scope(Workspace& workspace);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    std::size_t block_;
    std::size_t used_;
  };

  /// Uninitialised memory for `count` elements, aligned to 64 bytes, valid until the current Scope
  /// ends.
  template <typename T>
  T* allocate(std::int64_t count) {
    return reinterpret_cast<T*>(allocate_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  std::size_t high_water_bytes() const { return high_water_; }
  std::size_t reserved_bytes() const;

 private:
  std::byte* allocate_bytes(std::size_t size);
  std::size_t used_bytes() const;

  std::vector<AlignedBuffer> blocks_;
  std::size_t block_ = 0;  // the block that is being filled
  std::size_t used_ = 0;   // bytes of it
  std::size_t high_water_ = 0;
};

}  // namespace dsl
