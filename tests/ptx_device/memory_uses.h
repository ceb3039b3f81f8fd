// Which threads used each byte of the device's memory. Those of a grid come in no order: what one
// stores, no other may use, though a barrier lies between, as kernels exchange nothing that way.
// And a kernel that starts early must not read what those before it may still store.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace dsl::test::ptx {

/// Accesses lie within a page: they are aligned to their size, 16 bytes at most.
class MemoryUses {
 public:
  /// `follows_others`: kernels before may not have ended.
  void begin_grid(bool follows_others);
  void begin_block() { ++now_; }

  /// Whether a kernel stored there, of which this grid does not know that it has ended.
  bool was_stored_lately(std::uint64_t address, std::size_t bytes);
  /// By a thread of the block. Throw Fault where another thread of the grid has stored, or has read
  /// what is stored now.
  void note_read(std::uint32_t thread, std::uint64_t address, std::size_t bytes);
  void note_store(std::uint32_t thread, std::uint64_t address, std::size_t bytes);

 private:
  /// Blocks in the order in which they ran in this process, from 1.
  using BlockNumber = std::uint32_t;
  static constexpr std::uint32_t kSeveral = ~std::uint32_t{0};
  struct Use {
    BlockNumber block = 0;
    std::uint32_t thread = 0;  // of the block

    bool operator==(const Use&) const = default;
  };

  static constexpr std::size_t kPageBytes = 4096;
  struct Page {
    std::array<Use, kPageBytes> stored{};  // last
    std::array<Use, kPageBytes> read{};    // first in its grid, but kSeveral threads
  };

  /// Whether another use than `now` in this grid.
  bool is_race(const Use& before, const Use& now) const {
    return before.block > before_grid_ && before != now;
  }
  Page& page_of(std::uint64_t address);

  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;
  std::uint64_t last_number_ = 0;
  Page* last_page_ = nullptr;
  BlockNumber now_ = 0;
  BlockNumber before_grid_ = 0;  // the last block before
  BlockNumber settled_ = 0;      // so far all blocks have ended
};

/// Of all grids of the process; whoever runs one holds the device's memory.
MemoryUses& memory_uses();

}  // namespace dsl::test::ptx
