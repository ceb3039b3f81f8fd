#include "engine/model/workspace.h"

#include <gtest/gtest.h>

#include <vector>

namespace dsl::model {
namespace {

checkpoint::ModelConfig layer_config() {
  checkpoint::ModelConfig result;
  result.hidden_size = 48;
  result.intermediate_size = 96;
  result.moe_intermediate_size = 30;
  result.n_shared_experts = 4;
  result.num_attention_heads = 4;
  result.q_lora_rank = 20;
  result.kv_lora_rank = 16;
  result.qk_nope_head_dim = 8;
  result.qk_rope_head_dim = 4;
  result.v_head_dim = 6;
  result.routing.num_experts_per_tok = 2;
  return result;
}

/// Property: buffers that are alive together do not overlap, whatever is written to one of them.
TEST(WorkspaceTest, BuffersOfTheLargestStepDoNotOverlap) {
  HostMemory memory;
  const parallel::TensorParallel tp;
  const auto workspace = Workspace::make(memory, layer_config(), tp, {7, DType::kF32, 3});
  ASSERT_TRUE(workspace.has_value());
  struct Range {
    const std::byte* begin;
    const std::byte* end;
  };
  std::vector<Range> ranges;
  const auto add = [&](const void* data, std::int64_t elements) {
    const auto* begin = static_cast<const std::byte*>(data);
    ranges.push_back({begin, begin + elements * 4});
  };
  for (const Matrix& matrix :
       {workspace->hidden_states(7), workspace->normed(7), workspace->q_a(7), workspace->q(7),
        workspace->compressed_kv(7), workspace->attn_output(7), workspace->gate(7, 120),
        workspace->up(7, 120), workspace->activated(7, 120)}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.data) % 64, 0u);
    add(matrix.data, matrix.rows * matrix.row_stride);
  }
  add(workspace->update(7).data, 7 * 48);
  add(workspace->leaf_sums(7).data, 8 * 7 * 48);
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    add(workspace->routing(7, layer).expert_ids, 14);
  }
  add(workspace->routing(7, 0).weights, 14);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      EXPECT_TRUE(ranges[i].begin >= ranges[k].end || ranges[k].begin >= ranges[i].end)
          << i << " and " << k;
    }
  }
}

}  // namespace
}  // namespace dsl::model
