// How the lanes of a warp hold values: a register is 32 slots of 4 or 8 bytes, a predicate a mask.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {

template <typename T>
using Slot = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

template <std::size_t kBytes>
using UnsignedOf = std::conditional_t<
    kBytes == 8, std::uint64_t,
    std::conditional_t<kBytes == 4, std::uint32_t,
                       std::conditional_t<kBytes == 2, std::uint16_t, std::uint8_t>>>;

class Registers {
 public:
  explicit Registers(std::size_t bytes) : bytes_(bytes, std::byte{0xff}) {}

  template <typename T>
  T get(std::uint32_t place, int lane) const {
    Slot<T> slot;
    std::memcpy(&slot, bytes_.data() + place + sizeof(slot) * static_cast<std::size_t>(lane),
                sizeof(slot));
    return std::bit_cast<T>(static_cast<UnsignedOf<sizeof(T)>>(slot));
  }
  template <typename T>
  void set(std::uint32_t place, int lane, T value) {
    const Slot<T> slot = std::bit_cast<UnsignedOf<sizeof(T)>>(value);
    std::memcpy(bytes_.data() + place + sizeof(slot) * static_cast<std::size_t>(lane), &slot,
                sizeof(slot));
  }
  LaneMask predicate(std::uint32_t place) const {
    LaneMask mask;
    std::memcpy(&mask, bytes_.data() + place, sizeof(mask));
    return mask;
  }
  /// Of these lanes.
  void set_predicate(std::uint32_t place, LaneMask lanes, LaneMask values) {
    const LaneMask mask = (predicate(place) & ~lanes) | (values & lanes);
    std::memcpy(bytes_.data() + place, &mask, sizeof(mask));
  }
  LaneWords words(std::uint32_t place) const {
    LaneWords words;
    std::memcpy(words.data(), bytes_.data() + place, sizeof(words));
    return words;
  }
  void set_words(std::uint32_t place, const LaneWords& words) {
    std::memcpy(bytes_.data() + place, words.data(), sizeof(words));
  }

  /// register(lane) for the lanes that execute.
  template <typename T, typename Function>
  void assign(std::uint32_t place, LaneMask lanes, const Function& value_of) {
    if (lanes == kAllLanes) {
      for (int lane = 0; lane < kLanes; ++lane) set<T>(place, lane, value_of(lane));
      return;
    }
    for (LaneMask left = lanes; left != 0; left &= left - 1) {
      const int lane = std::countr_zero(left);
      set<T>(place, lane, value_of(lane));
    }
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace dsl::test::ptx
