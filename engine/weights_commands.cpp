#include "engine/weights_commands.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/inspect.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/synth.h"
#include "engine/command_end.h"
#include "engine/memory_command.h"

namespace dsl {
namespace {

using checkpoint::CheckpointSummary;
using checkpoint::SynthFormat;
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxListed = 20;

/// A count with a decimal prefix: "5.368 G".
std::string scaled(std::int64_t count) {
  double value = static_cast<double>(count);
  const char* prefix = "";
  for (const char* next : {"k", "M", "G"}) {
    if (value < 1000) break;
    value /= 1000;
    prefix = next;
  }
  return *prefix == '\0' ? fmt::format("{} ", count) : fmt::format("{:.3f} {}", value, prefix);
}
std::string bytes_text(std::int64_t bytes) { return scaled(bytes) + "B"; }

ordered_json to_json(const CheckpointSummary& summary) {
  ordered_json components = ordered_json::array();
  for (const auto& component : summary.components) {
    components.push_back({{"name", component.name},
                          {"tensors", component.num_tensors},
                          {"parameters", component.num_parameters},
                          {"bytes", component.size_bytes}});
  }
  return {{"files", summary.num_files},
          {"tensors", summary.num_tensors},
          {"bytes", summary.size_bytes},
          {"parameters", summary.num_parameters},
          {"active_parameters", summary.num_active_parameters},
          {"mtp_parameters", summary.num_mtp_parameters},
          {"bytes_by_dtype", summary.bytes_by_dtype},
          {"components", std::move(components)},
          {"missing", summary.missing},
          {"unexpected", summary.unexpected},
          {"mismatched", summary.mismatched}};
}

void print_list(const char* title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  fmt::print("{}: {}\n", title, names.size());
  for (std::size_t i = 0; i < std::min(names.size(), kMaxListed); ++i)
    fmt::print("  {}\n", names[i]);
  if (names.size() > kMaxListed) fmt::print("  ... and {} more\n", names.size() - kMaxListed);
}

void print_summary(const CheckpointSummary& summary) {
  fmt::print("{} tensors in {} files, {}\n", summary.num_tensors, summary.num_files,
             bytes_text(summary.size_bytes));
  fmt::print("parameters: {} ({} active per token, {} in MTP layers)\n",
             scaled(summary.num_parameters), scaled(summary.num_active_parameters),
             scaled(summary.num_mtp_parameters));
  for (const auto& [dtype, bytes] : summary.bytes_by_dtype)
    fmt::print("  {:<10} {}\n", dtype, bytes_text(bytes));
  fmt::print("{:<16} {:>8} {:>14} {:>14}\n", "component", "tensors", "parameters", "bytes");
  for (const auto& component : summary.components) {
    fmt::print("{:<16} {:>8} {:>14} {:>14}\n", component.name, component.num_tensors,
               scaled(component.num_parameters), bytes_text(component.size_bytes));
  }
  print_list("missing", summary.missing);
  print_list("unexpected", summary.unexpected);
  print_list("mismatched", summary.mismatched);
}

Status inspect_command(const std::string& model, bool is_json) {
  DSL_ASSIGN(const checkpoint::ModelConfig config, checkpoint::load_model_config(model));
  DSL_ASSIGN(const checkpoint::Checkpoint weights, checkpoint::Checkpoint::open(model));
  const CheckpointSummary summary = checkpoint::inspect(weights, config);
  if (is_json) {
    fmt::print("{}\n",
               to_json(summary).dump(2, ' ', false, ordered_json::error_handler_t::replace));
  } else {
    print_summary(summary);
  }
  if (!summary.missing.empty()) {
    return fail(ErrorCode::kTensorMissing,
                "fetch the checkpoint again, or the config.json that belongs to it",
                "{} lacks {} of the tensors that its configuration needs, first {}", model,
                summary.missing.size(), summary.missing.front());
  }
  if (!summary.mismatched.empty()) {
    return fail(ErrorCode::kTensorMismatch, "fetch the config.json that belongs to these weights",
                "{}: {}", model, summary.mismatched.front());
  }
  return {};
}

/// A line on a terminal that is written over: bytes, rate, time left.
class ProgressLine {
 public:
  void show(std::int64_t done, std::int64_t total) {
    if (!is_terminal_) return;
    const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
    const double rate = static_cast<double>(done) / std::max(elapsed, 1e-3);
    const double left = static_cast<double>(total - done) / std::max(rate, 1.0);
    fmt::print(stderr, "\r{} of {}, {:.2f} GB/s, {:.0f} s left   {}", bytes_text(done),
               bytes_text(total), rate / 1e9, left, done == total ? "\n" : "");
    std::fflush(stderr);
  }

 private:
  const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
  const Clock::time_point start_ = Clock::now();
};

Status synth_command(const checkpoint::SynthOptions& options, bool is_json) {
  ProgressLine line;
  const auto start = Clock::now();
  std::int64_t bytes = 0;
  DSL_TRY(checkpoint::synthesize(options, [&](std::int64_t done, std::int64_t total) {
    bytes = total;
    line.show(done, total);
  }));
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  if (is_json) {
    fmt::print(
        "{}\n",
        ordered_json{{"out", options.out_dir.string()}, {"bytes", bytes}, {"seconds", elapsed}}
            .dump());
  } else {
    fmt::print("{}: {} in {:.1f} s\n", options.out_dir.string(), bytes_text(bytes), elapsed);
  }
  return {};
}

void add_inspect(CLI::App& weights, int& code) {
  CLI::App* command =
      weights.add_subcommand("inspect", "Says what a checkpoint holds, and what it lacks");
  const auto model = std::make_shared<std::string>();
  const auto is_json = std::make_shared<bool>(false);
  command->add_option("MODEL", *model, "directory of the checkpoint")->required();
  command->add_flag("--json", *is_json, "print one JSON object, and errors as JSON");
  command->footer(
      "Examples:\n"
      "  dslaunch weights inspect models/demo\n"
      "  dslaunch weights inspect models/demo --json\n");
  command->callback([=, &code] { code = end_with(inspect_command(*model, *is_json), *is_json); });
}

void add_synth(CLI::App& weights, int& code) {
  CLI::App* command = weights.add_subcommand(
      "synth", "Writes a checkpoint of random weights in the geometry of a config.json");
  const auto options = std::make_shared<checkpoint::SynthOptions>();
  const auto config = std::make_shared<std::string>();
  const auto out = std::make_shared<std::string>();
  const auto scales = std::make_shared<std::string>("f32");
  const auto is_json = std::make_shared<bool>(false);
  const std::map<std::string, SynthFormat> formats = {{"bf16", SynthFormat::kBF16},
                                                      {"fp8", SynthFormat::kFp8},
                                                      {"f32", SynthFormat::kF32},
                                                      {"f16", SynthFormat::kF16}};
  command->add_option("--config", *config, "a config.json")->required();
  command->add_option("--out", *out, "directory to write")->required();
  command->add_option("--dtype", options->format, "of the weights")
      ->transform(CLI::CheckedTransformer(formats).description(""))
      ->type_name("TEXT:{bf16,fp8,f32,f16}")
      ->default_str("bf16");
  command->add_option("--scale-dtype", *scales, "of fp8: f32 or e8m0")
      ->check(CLI::IsMember({"f32", "e8m0"}))
      ->default_str("f32");
  command->add_option("--seed", options->seed, "seed of the weights")->default_str("0");
  command->add_option("--threads", options->num_threads, "0: all cores")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--json", *is_json, "print one JSON object, and errors as JSON");
  command->footer(
      "Examples:\n"
      "  dslaunch weights synth --config models/demo/config.json --out /tmp/synth\n"
      "  dslaunch weights synth --config models/demo/config.json --out /tmp/fp8 --dtype fp8 --seed "
      "7\n");
  command->callback([=, &code] {
    options->config_path = *config;
    options->out_dir = *out;
    options->scale_dtype = *scales == "e8m0" ? DType::kF8E8M0 : DType::kF32;
    code = end_with(synth_command(*options, *is_json), *is_json);
  });
}

}  // namespace

void add_weights_commands(CLI::App& app, int& exit_code) {
  CLI::App* weights = app.add_subcommand("weights", "Inspects and makes checkpoints");
  weights->require_subcommand(1);
  add_inspect(*weights, exit_code);
  add_synth(*weights, exit_code);
  add_memory_plan_command(*weights, exit_code);
  weights->footer(
      "Examples:\n"
      "  dslaunch weights inspect models/demo\n"
      "  dslaunch weights plan models/demo --tp 2 --pp 2\n");
}

}  // namespace dsl
