#include "engine/rank_arguments.h"

#include <CLI/CLI.hpp>

#include "engine/device_choice.h"

namespace dsl {

void add_rank_options(CLI::App& app, RankArguments& arguments) {
  EngineOptions& engine = arguments.engine;
  app.add_option("--model", arguments.model, "directory of a Hugging Face checkpoint");
  app.add_option("--served-model-name", arguments.served_model_name,
                 "what metrics call the model; by default as --model has it");
  app.add_option("--rank", arguments.rank, "of this process: stage * tp + shard")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--tp", engine.tp, "tensor shards per stage")->check(CLI::Range(1, 8));
  app.add_option("--pp", engine.pp, "pipeline stages")->check(CLI::Range(1, 1024));
  app.add_option("--rendezvous", arguments.rendezvous, "HOST:PORT of the supervisor");
  app.add_option("--transport", arguments.transport, "ucx, or inproc for a world of one")
      ->check(CLI::IsMember({"ucx", "inproc"}));
  app.add_option("--require-transport", arguments.required_transport,
                 "what links between hosts must use: rdma, rc_verbs, tcp, ...");
  app.add_flag("--allow-fallback", arguments.allow_fallback, "accept TCP although there is RDMA");
  app.add_option("--dtype", arguments.dtype, "of activations")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_flag("--fp8-activations", engine.fp8_activations,
               "quantise the inputs of linears with FP8 weights");
  app.add_flag("--fp8-cache", engine.fp8_cache, "cache latents in FP8, with BF16 activations");
  app.add_option("--threads", engine.num_threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 1024));
  app.add_option("--kernels", engine.kernels,
                 "of the CPU: auto, scalar, avx2, avx512 or avx512_bf16");
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:N");
  app.add_option("--kv-tokens", engine.kv_tokens,
                 "tokens the cache holds; 0: chosen from context and memory")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--max-batch-tokens", engine.max_batch_tokens, "tokens of one step")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-waiting", engine.max_waiting, "requests that may wait for the cache")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--prefix-cache", arguments.prefix_cache,
                 "on: requests with the same beginning share its cache")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--listen", arguments.listen,
                 "HOST:PORT of the engine port on rank 0; port 0: any free one");
  app.add_option("--deadline-ms", arguments.deadline_ms, "after which a silent peer is lost")
      ->check(CLI::Range(100, 3'600'000));
  app.add_option("--drain-timeout-s", arguments.drain_timeout_s,
                 "for answers in progress at the end")
      ->check(CLI::Range(0, 3600));
}

Status complete_engine_options(RankArguments& arguments) {
  EngineOptions& engine = arguments.engine;
  engine.model_dir = arguments.model;
  engine.compute_dtype = arguments.dtype == "f32" ? DType::kF32 : DType::kBF16;
  engine.prefix_cache = arguments.prefix_cache == "on";
  engine.step_deadline = std::chrono::milliseconds(arguments.deadline_ms);
  DSL_ASSIGN(engine.open_device, device_opener(arguments.device));
  return {};
}

Status check(const RankArguments& arguments) {
  const int world_size = arguments.world_size();
  if (arguments.rank >= world_size) {
    return fail(ErrorCode::kInvalidArgument, "give a rank below tp * pp",
                "--rank {}: the world has {} ranks", arguments.rank, world_size);
  }
  if (world_size > 1 && arguments.rendezvous.empty()) {
    return fail(ErrorCode::kInvalidArgument, "start ranks through dslaunch",
                "--rendezvous: a world of {} ranks needs one", world_size);
  }
  if (world_size > 1 && arguments.transport == "inproc") {
    return fail(ErrorCode::kTransportUnavailable, "use --transport ucx",
                "--transport inproc: {} ranks are {} processes", world_size, world_size);
  }
  return {};
}

}  // namespace dsl
