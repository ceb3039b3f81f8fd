// What tests ask of the emulated devices, and change about them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsl::test {

/// `count` devices with memory of `bytes` each; 0: as much as the machine has. Not while any of
/// their memory is in use.
void set_emulated_devices(int count, std::int64_t bytes);

/// Bytes that were asked of a device: now, and at most since the last reset_peaks().
std::int64_t device_bytes_in_use(int device);
std::int64_t device_bytes_peak(int device);
void reset_peaks();

/// The same of page-locked memory of the host, and the most that there is of it.
std::int64_t page_locked_bytes_in_use();
std::int64_t page_locked_bytes_peak();
void limit_page_locked_bytes(std::int64_t bytes);

/// Whether memory of a device that is given back is the first to be given out again, as drivers do:
/// what grows may keep its address. Not while any is in use.
void set_emulated_reuse(bool is_reused);

/// Whether recordings of a stream cannot be prepared for launches.
void fail_emulated_recordings(bool fails);

/// Whether the machine has an NCCL.
void set_emulated_nccl(bool is_there);

/// What a communicator takes of the device of each of its ranks; 0 unless a test says more.
void set_emulated_communicator_bytes(std::int64_t bytes);

/// Whether all of it is a device's memory.
bool is_device_memory(const void* data, std::size_t bytes);

/// Whether products of warpgroups find the chunks of a row where the PTX ISA says; without, no
/// device is like this one.
void set_emulated_swizzle(bool is_there);

/// Whether products of a warp add up the first eight features before the others, as devices before
/// Hopper do.
void halve_emulated_products(bool adds_halves);

/// What a kernel may have of shared memory; 0: as much as Hopper has. Not while kernels run.
void limit_emulated_shared_bytes(std::size_t bytes);

/// Whether products of warpgroups in BF16 round sums towards zero, which other products do not.
void round_emulated_products_to_zero(bool rounds_to_zero);

}  // namespace dsl::test
