// The whole model that cases of the benchmark share.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "tests/bench/gpu/whole_model.h"

namespace dsl::bench {

/// Opened for the first case of a process that asks for it, and again for one that asks for another
/// mode.
class SharedModel {
 public:
  /// `config_path` is the model's config.json, of which `sizes` may take less.
  SharedModel(std::string config_path, const ModelSizes& sizes)
      : config_path_(std::move(config_path)), sizes_(sizes) {}

  Result<checkpoint::ModelConfig> config() const;
  const ModelSizes& sizes() const { return sizes_; }
  Result<WholeModel*> in(ModelMode mode);

 private:
  std::string config_path_;
  ModelSizes sizes_;
  ModelMode mode_;
  std::unique_ptr<WholeModel> whole_;
};

}  // namespace dsl::bench
