// Checks of a linear's shapes that backends share; a wrong shape is a bug and aborts.
#pragma once

#include <cstdint>

#include "engine/kernels/ops.h"

namespace dsl {

inline void check_linear(const Matrix& x, const WeightView& w, std::int64_t rows,
                         std::int64_t cols) {
  DSL_CHECK(x.cols == w.in_features && rows == x.rows && cols == w.out_features,
            "x [{}, {}], w [{}, {}], out [{}, {}]", x.rows, x.cols, w.out_features, w.in_features,
            rows, cols);
}

inline void check_split(const LeafSplit& split, std::int64_t in_features) {
  DSL_CHECK(split.local_size() == in_features && split.size % split.shards == 0,
            "split of {} over {} shards, {} local features", split.size, split.shards, in_features);
}

}  // namespace dsl
