// RMS norm, one block a row.
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/raw_group.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"

namespace dsl::cuda {

/// The sum over a block of kElementThreads, the same bits on every thread. `sums` is shared memory
/// for one value a warp.
__device__ inline float block_sum(float value, float* sums) {
  value = warp_sum(value);
  if (lane_index() == 0) sums[warp_index()] = value;
  __syncthreads();
  constexpr int kWarps = kElementThreads / kWarpSize;
  return warp_sum(lane_index() < kWarps ? sums[lane_index()] : 0.0f);
}

/// Shared memory of norm_row().
inline constexpr std::size_t kNormSharedBytes = kElementThreads / kWarpSize * sizeof(float);

/// A thread of a norm takes every kElementThreads-th group of the row. The first of them stay in
/// registers: all of rows up to 8,192 wide.
inline constexpr int kHeldGroups = 4;
inline constexpr std::int64_t kGroupStep = std::int64_t{kElementThreads} * kGroupSize;

template <typename T>
struct HeldGroups {
  RawGroup<T> groups[kHeldGroups];
};

/// Calls work(i, first, count) for this thread's groups of `size` elements that it holds.
template <typename Work>
__device__ void each_held_group(std::int64_t size, const Work& work) {
#pragma unroll
  for (int i = 0; i < kHeldGroups; ++i) {
    const std::int64_t first = i * kGroupStep + std::int64_t{threadIdx.x} * kGroupSize;
    if (first >= size) break;
    work(i, first, size - first < kGroupSize ? static_cast<int>(size - first) : kGroupSize);
  }
}

/// Calls work(first, count) for the groups behind those.
template <typename Work>
__device__ void each_other_group(std::int64_t size, const Work& work) {
  for (std::int64_t first = kHeldGroups * kGroupStep + std::int64_t{threadIdx.x} * kGroupSize;
       first < size; first += kGroupStep) {
    work(first, size - first < kGroupSize ? static_cast<int>(size - first) : kGroupSize);
  }
}

template <typename T>
__device__ HeldGroups<T> load_held_groups(const T* from, std::int64_t size) {
  HeldGroups<T> held;
  each_held_group(size, [&](int i, std::int64_t first, int count) {
    held.groups[i].load(from + first, count);
  });
  return held;
}

/// store(first, count, group) for every group of row / sqrt(mean(row^2) + eps) * weight, by a block
/// of kElementThreads: however many rows there are, so that no sum depends on it. `row` and
/// `weight` are read for the groups that are not held.
template <typename X, typename W, typename Store>
__device__ void norm_row(const HeldGroups<X>& held, const X* row, const HeldGroups<W>& weights,
                         const W* weight, std::int64_t size, float eps, const Store& store) {
  float sum = 0;
  const auto add = [&](const RawGroup<X>& group, int count) {
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      if (i < count) sum = fmaf(group.at(i), group.at(i), sum);
    }
  };
  each_held_group(size, [&](int i, std::int64_t, int count) { add(held.groups[i], count); });
  each_other_group(size, [&](std::int64_t first, int count) {
    RawGroup<X> group;
    group.load(row + first, count);
    add(group, count);
  });
  const float mean =
      block_sum(sum, reinterpret_cast<float*>(shared_bytes)) / static_cast<float>(size);
  const float factor = 1.0f / sqrtf(mean + eps);
  const auto store_normed = [&](std::int64_t first, int count, const RawGroup<X>& group,
                                const RawGroup<W>& scales) {
    float normed[kGroupSize];
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) normed[i] = group.at(i) * factor * scales.at(i);
    RawGroup<X> rounded_group;
    rounded_group.set(normed);
    store(first, count, rounded_group);
  };
  each_held_group(size, [&](int i, std::int64_t first, int count) {
    store_normed(first, count, held.groups[i], weights.groups[i]);
  });
  each_other_group(size, [&](std::int64_t first, int count) {
    RawGroup<X> group;
    RawGroup<W> scales;
    group.load(row + first, count);
    scales.load(weight + first, count);
    store_normed(first, count, group, scales);
  });
}

/// Grid: rows.
template <typename X, typename W>
__global__ void rms_norm_kernel(Matrix x, const W* weight, float eps, Matrix out) {
  let_next_start();
  read_constants_early();
  const HeldGroups<W> weights = load_held_groups(weight, x.cols);
  wait_for_turn();
  const X* row = row_of<const X>(x, blockIdx.x);
  X* to = row_of<X>(out, blockIdx.x);
  const HeldGroups<X> held = load_held_groups(row, x.cols);
  norm_row(held, row, weights, weight, x.cols, eps,
           [&](std::int64_t first, int count, const RawGroup<X>& normed) {
             normed.store(to + first, count);
           });
}

/// residual += update, then its norm. Grid: rows.
template <typename X, typename W>
__global__ void add_rms_norm_kernel(Matrix residual, MatrixView<const float> update,
                                    const W* weight, float eps, Matrix out) {
  let_next_start();
  const std::int64_t size = residual.cols;
  read_constants_early();
  const HeldGroups<W> weights = load_held_groups(weight, size);
  wait_for_turn();
  X* row = row_of<X>(residual, blockIdx.x);
  X* to = row_of<X>(out, blockIdx.x);
  const float* added = update.data + blockIdx.x * update.row_stride;
  // A thread adds up what it will norm, so that nobody waits.
  const auto add = [&](RawGroup<X>& group, const RawGroup<float>& updates, std::int64_t first,
                       int count) {
    float values[kGroupSize];
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) values[i] = group.at(i) + updates.at(i);
    group.set(values);
    group.store(row + first, count);
  };
  HeldGroups<X> held = load_held_groups<X>(row, size);
  const HeldGroups<float> updates = load_held_groups(added, size);
  each_held_group(size, [&](int i, std::int64_t first, int count) {
    add(held.groups[i], updates.groups[i], first, count);
  });
  each_other_group(size, [&](std::int64_t first, int count) {
    RawGroup<X> group;
    RawGroup<float> others;
    group.load(row + first, count);
    others.load(added + first, count);
    add(group, others, first, count);
  });
  norm_row(held, row, weights, weight, size, eps,
           [&](std::int64_t first, int count, const RawGroup<X>& normed) {
             normed.store(to + first, count);
           });
}

}  // namespace dsl::cuda
