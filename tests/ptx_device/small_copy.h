// Copies of what a lane loads or stores at once.
#pragma once

#include <cstddef>
#include <cstring>

namespace dsl::test::ptx {

/// As memcpy. Sizes of elements are written out, as compilers do without a call then.
inline void copy_element(void* to, const void* from, std::size_t bytes) {
  switch (bytes) {
    case 1:
      std::memcpy(to, from, 1);
      return;
    case 2:
      std::memcpy(to, from, 2);
      return;
    case 4:
      std::memcpy(to, from, 4);
      return;
    case 8:
      std::memcpy(to, from, 8);
      return;
    default:
      std::memcpy(to, from, bytes);
  }
}
/// The same of up to 16 bytes.
inline void copy_access(void* to, const void* from, std::size_t bytes) {
  if (bytes == 16) {
    std::memcpy(to, from, 16);
  } else {
    copy_element(to, from, bytes);
  }
}

}  // namespace dsl::test::ptx
