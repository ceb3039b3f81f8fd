#include "tests/bench/gpu/model_logits.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

namespace dsl::bench {
namespace {

/// The tensors of a safetensors file.
class TensorFile {
 public:
  explicit TensorFile(const std::string& config) { header_["__metadata__"]["config"] = config; }

  template <typename T>
  void add(const std::string& name, const char* dtype, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    header_[name] = {{"dtype", dtype},
                     {"shape", {values.size()}},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  void write(std::ostream& out) const {
    std::string header = header_.dump();
    header.append((8 - header.size() % 8) % 8, ' ');
    const std::uint64_t length = header.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header << data_;
  }

 private:
  nlohmann::ordered_json header_;
  std::string data_;
};

nlohmann::json cut_fields(const checkpoint::ModelConfig& config) {
  return {{"num_hidden_layers", config.num_hidden_layers},
          {"n_routed_experts", config.routing.n_routed_experts},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"moe_intermediate_size", config.moe_intermediate_size},
          {"vocab_size", config.vocab_size}};
}

}  // namespace

Status write_logits(const std::string& path, const checkpoint::ModelConfig& config,
                    const std::vector<SequenceLogits>& sequences) {
  TensorFile file(cut_fields(config).dump());
  for (const SequenceLogits& sequence : sequences) {
    file.add(sequence.name + ".tokens", "I32", sequence.tokens);
    file.add(sequence.name + ".logits", "F32", sequence.logits);
  }
  std::ofstream out(path, std::ios::binary);
  file.write(out);
  out.close();
  if (!out) return fail(ErrorCode::kIo, "", "cannot write {}", path);
  return {};
}

}  // namespace dsl::bench
