#include "slurm/batch_script.h"

#include <fmt/chrono.h>

#include <algorithm>

namespace dsl::slurm {
namespace {

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("_-./:=,@%+").find(c) != std::string_view::npos;
}

bool is_plain_word(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), is_plain);
}

/// A value in an #SBATCH line: sbatch reads double quotes and backslashes there, but expands
/// nothing.
std::string sbatch_quote(std::string_view value) {
  if (is_plain_word(value)) return std::string(value);
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  quoted += '"';
  return quoted;
}

/// Collects #SBATCH lines.
class Directives {
 public:
  void flag(std::string_view name) { text_ += fmt::format("#SBATCH --{}\n", name); }
  void option(std::string_view name, std::string_view value) {
    text_ += fmt::format("#SBATCH --{}={}\n", name, sbatch_quote(value));
  }
  void option(std::string_view name, const std::optional<std::string>& value) {
    if (value) option(name, std::string_view(*value));
  }
  template <typename Integer>
  requires std::is_integral_v<Integer>
  void option(std::string_view name, const std::optional<Integer>& value) {
    if (value) option(name, std::string_view(std::to_string(*value)));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string directives_of(const JobSpec& spec) {
  Directives lines;
  lines.option("job-name", std::string_view(spec.name));
  if (spec.nodes) {
    std::string count = std::to_string(spec.nodes->min);
    if (spec.nodes->max != spec.nodes->min) count += fmt::format("-{}", spec.nodes->max);
    lines.option("nodes", std::string_view(count));
  }
  lines.option("ntasks", spec.ntasks);
  lines.option("ntasks-per-node", spec.ntasks_per_node);
  lines.option("cpus-per-task", spec.cpus_per_task);
  if (spec.memory_mb) lines.option("mem", std::string_view(fmt::format("{}M", *spec.memory_mb)));
  lines.option("partition", spec.partition);
  lines.option("account", spec.account);
  lines.option("qos", spec.qos);
  if (spec.time_limit) {
    lines.option("time", std::string_view(format_time_limit(*spec.time_limit)));
  }
  lines.option("nodelist", spec.nodelist);
  lines.option("exclude", spec.exclude);
  lines.option("gpus-per-node", spec.gpus_per_node);
  lines.option("gres", spec.gres);
  lines.option("constraint", spec.constraint);
  lines.option("reservation", spec.reservation);
  lines.option("dependency", spec.dependency);
  lines.option("comment", spec.comment);
  if (spec.signal) lines.option("signal", std::string_view(format_warn_signal(*spec.signal)));
  if (spec.begin) {
    const auto time = fmt::localtime(std::chrono::system_clock::to_time_t(*spec.begin));
    lines.option("begin", std::string_view(fmt::format("{:%Y-%m-%dT%H:%M:%S}", time)));
  }
  lines.option("switches", spec.switches);
  if (spec.requeue) lines.flag(*spec.requeue ? "requeue" : "no-requeue");
  if (spec.exclusive) lines.flag("exclusive");
  if (spec.no_kill) lines.flag("no-kill");
  lines.option("output", spec.output);
  lines.option("error", spec.error);
  lines.option("open-mode", std::string_view("append"));
  lines.option("chdir", std::string_view(spec.work_dir));
  return lines.text();
}

}  // namespace

std::string shell_quote(std::string_view word) {
  if (is_plain_word(word)) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  quoted += '\'';
  return quoted;
}

Result<std::string> render_batch_script(const JobSpec& spec,
                                        const std::vector<std::string>& command) {
  if (command.empty()) {
    return fail(ErrorCode::kInvalidArgument, "pass the program to run",
                "batch script of \"{}\": the command is empty", spec.name);
  }
  JobSpec checked = spec;
  checked.script = "#!";  // stands for the script that is made here
  if (checked.environment.empty()) checked.environment.emplace_back("PATH=");
  DSL_TRY(validate(checked));

  std::string script = "#!/bin/bash\n" + directives_of(spec);
  script += "\nset -euo pipefail\n";
  script += "exec";  // the program itself gets Slurm's signals
  for (const std::string& word : command) {
    if (word.find('\0') != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, "remove it",
                  "batch script of \"{}\": an argument holds a NUL byte", spec.name);
    }
    script += ' ';
    script += shell_quote(word);
  }
  script += '\n';
  return script;
}

}  // namespace dsl::slurm
