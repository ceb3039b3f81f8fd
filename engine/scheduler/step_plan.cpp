#include "engine/scheduler/step_plan.h"

#include <limits>

#include "engine/scheduler/byte_codec.h"

namespace dsl::scheduler {
namespace {

constexpr std::uint64_t kMaxId = std::numeric_limits<std::int32_t>::max();

void put_ids(ByteWriter& writer, const std::vector<std::int32_t>& ids) {
  writer.put_unsigned(ids.size());
  for (const std::int32_t id : ids) writer.put_unsigned(static_cast<std::uint32_t>(id));
}

std::vector<std::int32_t> take_ids(ByteReader& reader) {
  std::vector<std::int32_t> ids(reader.take_count());
  for (auto& id : ids) id = static_cast<std::int32_t>(reader.take_at_most(kMaxId));
  return ids;
}

void put_sampling(ByteWriter& writer, const sampling::SamplingParams& params) {
  writer.put_float(params.temperature);
  writer.put_signed(params.top_k);
  writer.put_float(params.top_p);
  writer.put_float(params.min_p);
  writer.put_float(params.repetition_penalty);
  writer.put_float(params.presence_penalty);
  writer.put_float(params.frequency_penalty);
  writer.put_unsigned(params.logit_bias.size());
  for (const auto& [token_id, bias] : params.logit_bias) {
    writer.put_signed(token_id);
    writer.put_float(bias);
  }
  writer.put_unsigned(params.seed);
  writer.put_signed(params.num_logprobs);
}

sampling::SamplingParams take_sampling(ByteReader& reader) {
  sampling::SamplingParams params;
  params.temperature = reader.take_float();
  params.top_k = static_cast<std::int32_t>(reader.take_signed());
  params.top_p = reader.take_float();
  params.min_p = reader.take_float();
  params.repetition_penalty = reader.take_float();
  params.presence_penalty = reader.take_float();
  params.frequency_penalty = reader.take_float();
  params.logit_bias.resize(reader.take_count());
  for (auto& [token_id, bias] : params.logit_bias) {
    token_id = static_cast<std::int32_t>(reader.take_signed());
    bias = reader.take_float();
  }
  params.seed = reader.take_unsigned();
  params.num_logprobs = static_cast<std::int32_t>(reader.take_signed());
  return params;
}

void put_start(ByteWriter& writer, const SequenceStart& start) {
  writer.put_unsigned(static_cast<std::uint64_t>(start.id));
  writer.put_unsigned(static_cast<std::uint64_t>(start.goal));
  writer.put_unsigned(static_cast<std::uint64_t>(start.num_prompt_tokens));
  put_ids(writer, start.token_ids);
  put_ids(writer, start.cached_blocks);
  put_sampling(writer, start.sampling);
}

SequenceStart take_start(ByteReader& reader) {
  SequenceStart start;
  start.id = SequenceId{reader.take_unsigned()};
  start.goal = static_cast<SequenceGoal>(reader.take_at_most(1));
  start.num_prompt_tokens = static_cast<std::int64_t>(reader.take_at_most(kMaxId));
  start.token_ids = take_ids(reader);
  start.cached_blocks = take_ids(reader);
  start.sampling = take_sampling(reader);
  return start;
}

void put_segment(ByteWriter& writer, const PlanSegment& segment) {
  writer.put_unsigned(static_cast<std::uint64_t>(segment.id));
  writer.put_unsigned(static_cast<std::uint64_t>(segment.num_rows));
  put_ids(writer, segment.new_token_ids);
  put_ids(writer, segment.new_blocks);
  writer.put_unsigned(segment.ends_known_tokens ? 1 : 0);
}

PlanSegment take_segment(ByteReader& reader) {
  PlanSegment segment;
  segment.id = SequenceId{reader.take_unsigned()};
  segment.num_rows = static_cast<std::int64_t>(reader.take_at_most(kMaxId));
  segment.new_token_ids = take_ids(reader);
  segment.new_blocks = take_ids(reader);
  segment.ends_known_tokens = reader.take_at_most(1) == 1;
  return segment;
}

}  // namespace

std::int64_t StepPlan::num_rows() const {
  std::int64_t rows = 0;
  for (const PlanSegment& segment : segments) rows += segment.num_rows;
  return rows;
}

std::vector<std::byte> encode(const StepPlan& plan) {
  ByteWriter writer;
  writer.put_unsigned(static_cast<std::uint64_t>(plan.kind));
  writer.put_unsigned(plan.step);
  writer.put_unsigned(plan.released.size());
  for (const SequenceId id : plan.released) writer.put_unsigned(static_cast<std::uint64_t>(id));
  writer.put_unsigned(plan.started.size());
  for (const SequenceStart& start : plan.started) put_start(writer, start);
  writer.put_unsigned(plan.segments.size());
  for (const PlanSegment& segment : plan.segments) put_segment(writer, segment);
  return writer.bytes();
}

Result<StepPlan> decode_step_plan(ConstBytes bytes) {
  ByteReader reader(bytes);
  StepPlan plan;
  plan.kind = static_cast<StepKind>(reader.take_at_most(1));
  plan.step = reader.take_unsigned();
  const std::size_t num_released = reader.take_count();
  for (std::size_t i = 0; i < num_released && reader.ok(); ++i) {
    plan.released.push_back(SequenceId{reader.take_unsigned()});
  }
  const std::size_t num_started = reader.take_count();
  for (std::size_t i = 0; i < num_started && reader.ok(); ++i) {
    plan.started.push_back(take_start(reader));
  }
  const std::size_t num_segments = reader.take_count();
  for (std::size_t i = 0; i < num_segments && reader.ok(); ++i) {
    plan.segments.push_back(take_segment(reader));
  }
  if (!reader.ok() || !reader.at_end()) {
    return fail(ErrorCode::kProtocol, "run the same build on every rank",
                "decoding a step plan of {} bytes: {}", bytes.size(),
                reader.ok() ? "bytes are left over" : "a field is missing or out of range");
  }
  return plan;
}

}  // namespace dsl::scheduler
