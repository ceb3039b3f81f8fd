// The command line of a rank (docs/process-contract.md).
#pragma once

#include <string>

#include "engine/engine.h"
#include "transport/base/error.h"

namespace CLI {
class App;
}

namespace dsl {

struct RankArguments {
  EngineOptions engine;  // complete after complete_engine_options()
  std::string model;
  std::string served_model_name;  // empty: `model`
  std::string dtype = "bf16";
  std::string device = "cpu";
  std::string prefix_cache = "on";
  int rank = 0;
  std::string rendezvous;  // empty: a world of one without a supervisor
  std::string transport = "ucx";
  std::string required_transport;
  bool allow_fallback = false;
  std::string listen = "127.0.0.1:0";
  int deadline_ms = 5000;
  int drain_timeout_s = 30;

  int world_size() const { return engine.tp * engine.pp; }
};

/// Adds the options to `app`; parsing stores them in `arguments`, which must outlive it.
void add_rank_options(CLI::App& app, RankArguments& arguments);

/// Translates what the engine's options have no place for as it was typed. The errors of
/// device_opener().
Status complete_engine_options(RankArguments& arguments);

/// What no single option can say: whether they fit together.
Status check(const RankArguments& arguments);

}  // namespace dsl
