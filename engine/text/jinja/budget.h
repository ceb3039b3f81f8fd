// Bounds what one rendering may cost, so that a template or its input cannot hang or fill the
// process.
#pragma once

#include <cstddef>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/value.h"

namespace dsl::text::jinja {

/// Thread-compatible; one per rendering.
class Budget {
 public:
  /// One evaluation or a copied value.
  void step(int line) { charge(line, 1); }
  /// Looking at all of a value.
  void walk(int line, const Value& value) { charge(line, value.weight); }
  /// Bytes or items that an operation makes.
  void produce(int line, std::size_t size) {
    if (size > kMaxSize)
      give_up(line, "a value of {} bytes or items, more than {}", size, kMaxSize);
    charge(line, 1 + size / kSizePerStep);
  }

 private:
  static constexpr std::size_t kMaxSteps = 5'000'000;  // about a second
  static constexpr std::size_t kMaxSize = std::size_t{64} << 20;
  static constexpr std::size_t kSizePerStep = 32;

  void charge(int line, std::size_t steps) {
    steps_ += steps;
    if (steps_ > kMaxSteps) give_up(line, "rendering took more than {} steps", kMaxSteps);
  }

  std::size_t steps_ = 0;
};

}  // namespace dsl::text::jinja
