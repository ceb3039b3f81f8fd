// What tests ask of the emulated devices, and change about them.
#pragma once

#include <cstdint>

namespace dsl::test {

/// `count` devices with memory of `bytes` each; 0: as much as the machine has. Not while any of
/// their memory is in use.
void set_emulated_devices(int count, std::int64_t bytes);

/// Bytes that were asked of a device: now, and at most since the last reset_peaks().
std::int64_t device_bytes_in_use(int device);
std::int64_t device_bytes_peak(int device);
void reset_peaks();

/// Whether products of warpgroups find the chunks of a row where the PTX ISA says; without, no
/// device is like this one.
void set_emulated_swizzle(bool is_there);

}  // namespace dsl::test
