#include "launcher/deployment/spec_reader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include "launcher/deployment/spec_fields.h"

namespace dsl::launcher {
namespace {

constexpr std::string_view kSpecRemedy = "compare with docs/deployment.schema.json";

/// "demo.yaml:3:7", 1-based; yaml-cpp counts from 0.
std::string place(std::string_view origin, const YAML::Mark& mark) {
  return fmt::format("{}:{}:{}", origin, mark.line + 1, mark.column + 1);
}

std::string_view kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a sequence";
  if (node.IsNull()) return "nothing";
  return "a scalar";
}

/// The field of this key in the sections that stand under `section`.
const SpecField* find_field(std::string_view section, const std::string& key) {
  for (const SpecSection& candidate : spec_sections()) {
    if (candidate.key != section) continue;
    for (const SpecField& field : candidate.fields) {
      if (key == field.key) return &field;
    }
  }
  return nullptr;
}

bool is_section(const std::string& key) {
  const std::span<const SpecSection> sections = spec_sections();
  return !key.empty() && std::any_of(sections.begin(), sections.end(),
                                     [&](const auto& section) { return key == section.key; });
}

Status read_field(const YAML::Node& value, const SpecField& field, std::string_view origin,
                  DeploymentSpec& spec) {
  const std::string where = place(origin, value.Mark());
  if (!value.IsScalar()) {
    return fail(ErrorCode::kConfig, kSpecRemedy, "{}: {}: expected a scalar, found {}", where,
                field.key, kind_of(value));
  }
  // yaml-cpp tags plain scalars "?" and quoted ones "!": "4" in quotes is text, not a number.
  if ((field.is_number() || field.is_switch()) && value.Tag() != "?") {
    return fail(ErrorCode::kConfig, kSpecRemedy, "{}: {}: expected {}, found the text \"{}\"",
                where, field.key, field.is_number() ? "an integer" : "true or false",
                value.Scalar());
  }
  Status assigned = assign(spec, field, value.Scalar(), ErrorCode::kConfig);
  if (!assigned) return tl::unexpected<Error>(std::move(assigned).error().within(where));
  return {};
}

/// Reads the mapping of a section; the one at the top holds the others.
Status read_mapping(const YAML::Node& map, const std::string& section, std::string_view origin,
                    DeploymentSpec& spec) {
  const std::string path = section.empty() ? "" : section + ".";
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const std::string where = place(origin, entry.first.Mark());
    if (!entry.first.IsScalar()) {
      return fail(ErrorCode::kConfig, kSpecRemedy, "{}: expected a key, found {}", where,
                  kind_of(entry.first));
    }
    const std::string& key = entry.first.Scalar();
    if (!seen.insert(key).second) {
      return fail(ErrorCode::kConfig, kSpecRemedy, "{}: the key \"{}{}\" occurs twice", where, path,
                  key);
    }
    if (section.empty() && is_section(key)) {
      if (!entry.second.IsMap()) {
        return fail(ErrorCode::kConfig, kSpecRemedy, "{}: {}: expected a mapping, found {}",
                    place(origin, entry.second.Mark()), key, kind_of(entry.second));
      }
      DSL_TRY(read_mapping(entry.second, key, origin, spec));
      continue;
    }
    const SpecField* field = find_field(section, key);
    if (field == nullptr) {
      return fail(ErrorCode::kConfig, kSpecRemedy, "{}: unknown key \"{}{}\"", where, path, key);
    }
    DSL_TRY(read_field(entry.second, *field, origin, spec));
  }
  return {};
}

Result<DeploymentSpec> read_document(const YAML::Node& document, std::string_view origin) {
  if (!document.IsMap()) {
    return fail(ErrorCode::kConfig, kSpecRemedy, "{}: expected a mapping, found {}",
                place(origin, document.Mark()), kind_of(document));
  }
  DeploymentSpec spec;
  DSL_TRY(read_mapping(document, "", origin, spec));
  return spec;
}

/// Nesting of the text, before the recursive parser of the library sees it.
bool is_too_deep(std::string_view yaml) {
  constexpr int kMaxDepth = 32;
  int flow_depth = 0;
  int line_markers = 0;  // "- - - -" nests one sequence per dash
  std::size_t indent = 0;
  bool in_indent = true;
  for (const char c : yaml) {
    if (c == '\n') {
      line_markers = 0;
      indent = 0;
      in_indent = true;
      continue;
    }
    if (in_indent && c == ' ') {
      if (++indent > 256) return true;
      continue;
    }
    in_indent = false;
    if (c == '[' || c == '{') ++flow_depth;
    if ((c == ']' || c == '}') && flow_depth > 0) --flow_depth;
    if (c == '-' || c == '?' || c == ':') ++line_markers;
    if (flow_depth > kMaxDepth || line_markers > 64) return true;
  }
  return false;
}

}  // namespace

Result<DeploymentSpec> parse_spec(std::string_view yaml, std::string_view origin) {
  if (yaml.size() > kMaxSpecBytes || is_too_deep(yaml)) {
    return fail(ErrorCode::kConfig, kSpecRemedy, "{}: larger or deeper than any specification",
                origin);
  }
  try {
    return read_document(YAML::Load(std::string(yaml)), origin);
  } catch (const YAML::Exception& error) {
    return fail(ErrorCode::kConfig, kSpecRemedy, "{}: {}", place(origin, error.mark), error.msg);
  }
}

std::string place_in_spec(const std::filesystem::path& path, std::string_view key) {
  try {
    YAML::Node node = YAML::LoadFile(path.string());
    while (!key.empty() && node.IsMap()) {
      const std::size_t dot = std::min(key.find('.'), key.size());
      const YAML::Node inner = node[std::string(key.substr(0, dot))];
      if (!inner) break;
      node.reset(inner);
      key.remove_prefix(std::min(dot + 1, key.size()));
    }
    return place(path.string(), node.Mark());
  } catch (const YAML::Exception&) {
    return path.string();  // it was there a moment ago
  }
}

Result<DeploymentSpec> read_spec(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(ErrorCode::kNotFound, "check the path", "cannot read {}: {}", path.string(),
                std::strerror(errno));
  }
  std::string text(kMaxSpecBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  DSL_ASSIGN(DeploymentSpec spec, parse_spec(text, path.string()));
  for (std::string* named : {&spec.model, &spec.keys, &spec.tls_certificate, &spec.tls_key}) {
    if (named->empty() || std::filesystem::path(*named).is_absolute()) continue;
    *named = (path.parent_path() / *named).lexically_normal().string();
  }
  return spec;
}

}  // namespace dsl::launcher
