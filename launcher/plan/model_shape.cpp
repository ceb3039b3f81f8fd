#include "launcher/plan/model_shape.h"

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxConfigBytes = 4 << 20;

std::optional<std::int64_t> positive(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer()) return std::nullopt;
  const auto value = found->get<std::int64_t>();
  return value > 0 ? std::optional(value) : std::nullopt;
}

/// Whether something may be there that cannot be looked at.
bool is_kept_from(const std::error_code& problem) {
  return problem && problem != std::errc::no_such_file_or_directory &&
         problem != std::errc::not_a_directory;
}

tl::unexpected<Error> cannot_read(const std::filesystem::path& path,
                                  const std::error_code& problem) {
  const bool is_denied = problem == std::errc::permission_denied;
  return fail(is_denied ? ErrorCode::kPermission : ErrorCode::kIo,
              "let this user read the model directory", "cannot read {}: {}", path.string(),
              problem.message());
}

}  // namespace

Status check_shape(const std::filesystem::path& model, int tp, int pp) {
  constexpr std::string_view kRemedy = "name a directory in Hugging Face layout";
  std::error_code problem;
  if (!std::filesystem::is_directory(model, problem)) {
    if (is_kept_from(problem)) return cannot_read(model, problem);
    return fail(ErrorCode::kNotFound, kRemedy, "there is no model directory {}", model.string());
  }
  std::ifstream file(model / "config.json", std::ios::binary);
  if (!file) {
    problem.assign(errno, std::generic_category());
    if (is_kept_from(problem)) return cannot_read(model / "config.json", problem);
    return fail(ErrorCode::kNotFound, kRemedy,
                "the directory {} holds no model: config.json is missing", model.string());
  }
  std::string text(kMaxConfigBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const Result<nlohmann::json> config =
      parse_json(text, (model / "config.json").string(), ErrorCode::kModelConfig);
  if (!config || !config->is_object()) return {};

  const std::optional<std::int64_t> layers = positive(*config, "num_hidden_layers");
  if (layers && pp > *layers) {
    return fail(ErrorCode::kParallelism, fmt::format("use --pp {} or less", *layers),
                "{} stages cannot share {} layers (num_hidden_layers of {})", pp, *layers,
                model.string());
  }
  const std::optional<std::int64_t> heads = positive(*config, "num_attention_heads");
  if (heads && *heads % tp != 0) {
    return fail(ErrorCode::kParallelism, "use a --tp that divides the heads",
                "{} shards cannot share {} heads evenly (num_attention_heads of {})", tp, *heads,
                model.string());
  }
  return {};
}

}  // namespace dsl::launcher
