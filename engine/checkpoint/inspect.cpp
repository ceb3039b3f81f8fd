#include "engine/checkpoint/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>

#include "engine/checkpoint/tensor_plan.h"

namespace dsl::checkpoint {
namespace {

/// Carried by some old checkpoints; recomputed from the configuration.
bool is_rotary_table(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

class Inspection {
 public:
  Inspection(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config) {}

  CheckpointSummary run() && {
    summary_.num_files = checkpoint_.num_files();
    summary_.size_bytes = checkpoint_.total_bytes();
    for (const PlannedTensor& planned : plan_tensors(config_)) {
      count_parameters(planned);
      visit(planned);
    }
    for (const TensorView& tensor : checkpoint_.tensors()) {
      ++summary_.num_tensors;
      summary_.bytes_by_dtype[std::string(name_of(tensor.dtype))] += tensor.size_bytes;
      if (!known_.contains(tensor.name) && !is_rotary_table(tensor.name)) {
        summary_.unexpected.emplace_back(tensor.name);
      }
    }
    for (int i = 0; i < kNumComponents; ++i) {
      ComponentSummary& component = components_[static_cast<std::size_t>(i)];
      if (component.num_tensors == 0) continue;
      component.name = name_of(static_cast<Component>(i));
      summary_.components.push_back(std::move(component));
    }
    return std::move(summary_);
  }

 private:
  void count_parameters(const PlannedTensor& planned) {
    const std::int64_t count = planned.num_elements();
    if (planned.component == Component::kMtp) {
      summary_.num_mtp_parameters += count;
      return;
    }
    summary_.num_parameters += count;
    // Every expert has the same shapes, so the share of the sum is exact over the whole model.
    active_routed_ += planned.component == Component::kRoutedExperts ? count : 0;
    summary_.num_active_parameters =
        summary_.num_parameters - active_routed_ +
        (config_.has_routed_experts() ? active_routed_ / config_.routing.n_routed_experts *
                                            config_.routing.num_experts_per_tok
                                      : 0);
  }

  void visit(const PlannedTensor& planned) {
    const auto found = checkpoint_.tensor(planned.name);
    if (!found) {
      if (planned.component != Component::kMtp) summary_.missing.push_back(planned.name);
      return;
    }
    known_.insert(found->name);
    if (found->shape != planned.shape) {
      summary_.mismatched.push_back(
          fmt::format("{}: expected {}, found {}", planned.name, planned.shape, found->shape));
    }
    ComponentSummary& component = components_[static_cast<std::size_t>(planned.component)];
    component.num_parameters += planned.num_elements();
    add_stored(component, *found);
    if (found->dtype != DType::kF8E4M3) return;
    const std::string scale_name = planned.name + "_scale_inv";
    const auto scale = checkpoint_.tensor(scale_name);
    if (!scale) {
      summary_.missing.push_back(scale_name);
      return;
    }
    known_.insert(scale->name);
    add_stored(component, *scale);
  }

  static void add_stored(ComponentSummary& component, const TensorView& tensor) {
    ++component.num_tensors;
    component.size_bytes += tensor.size_bytes;
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  CheckpointSummary summary_;
  std::array<ComponentSummary, kNumComponents> components_;
  std::set<std::string_view> known_;
  std::int64_t active_routed_ = 0;
};

}  // namespace

CheckpointSummary inspect(const Checkpoint& checkpoint, const ModelConfig& config) {
  return Inspection(checkpoint, config).run();
}

}  // namespace dsl::checkpoint
