#include "launcher/deployment/spec_fields.h"

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "launcher/commands/spec_flags.h"
#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

using testing::HasSubstr;

DeploymentSpec valid_spec() {
  DeploymentSpec spec;
  spec.name = "demo";
  spec.model = "/models/demo";
  return spec;
}

TEST(SpecFields, FlagsAndKeysAreUnique) {
  std::set<std::string> keys;
  std::set<std::string> flags;
  for (const SpecSection& section : spec_sections()) {
    for (const SpecField& field : section.fields) {
      EXPECT_TRUE(keys.insert(fmt::format("{}.{}", section.key, field.key)).second) << field.key;
      if (field.flags[0] != '\0') {
        EXPECT_TRUE(flags.insert(field.long_flag()).second) << field.flags;
      }
    }
  }
}

TEST(SpecFields, NobodyCanWriteOverTheRegistryInTheJobsComment) {
  for (const SpecField& field : slurm_fields()) EXPECT_NE(field.long_flag(), "--comment");
}

TEST(SpecFields, SchemaHasTheSameKeysAsTheTable) {
  std::ifstream file(std::string(DSL_TEST_DATA_DIR) + "/../docs/deployment.schema.json");
  const nlohmann::json schema = nlohmann::json::parse(file);
  const auto names = [](const nlohmann::json& properties) {
    std::set<std::string> found;
    for (const auto& [name, value] : properties.items()) found.insert(name);
    return found;
  };
  std::map<std::string, std::set<std::string>> sections;
  for (const SpecSection& section : spec_sections()) {
    if (section.key[0] != '\0') sections[""].insert(section.key);
    for (const SpecField& field : section.fields) sections[section.key].insert(field.key);
  }
  for (const auto& [key, fields] : sections) {
    const nlohmann::json& mapping = key.empty() ? schema : schema.at("properties").at(key);
    EXPECT_EQ(names(mapping.at("properties")), fields) << key;
    EXPECT_FALSE(mapping.at("additionalProperties").get<bool>()) << key;
  }
}

TEST(SpecFields, RefusesGatewaysWithoutAPort) {
  DeploymentSpec spec = valid_spec();
  spec.gateways = 1;
  spec.gateway_listen = "0.0.0.0:http";
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message, HasSubstr("no port"));
  spec.gateway_listen = "0.0.0.0:65535";
  EXPECT_TRUE(validate(spec, ErrorCode::kConfig));
  spec.gateways = 2;
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message,
              HasSubstr("no port for gateway 1"));
}

TEST(SpecFields, RefusesBadNamesAndShapes) {
  DeploymentSpec spec = valid_spec();
  EXPECT_TRUE(validate(spec, ErrorCode::kConfig));
  for (const std::string name : {"", "Demo", "-a", "a-", "a/b", "a b", "../x"}) {
    spec.name = name;
    EXPECT_FALSE(validate(spec, ErrorCode::kConfig)) << name;
  }
  spec = valid_spec();
  spec.tp = 3;
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message, HasSubstr("tp is 3"));
  EXPECT_EQ(validate(spec, ErrorCode::kConfig).error().field, "tp");
  spec = valid_spec();
  for (const char* device : {"cpu", "cuda", "cuda:0", "cuda:12"}) {
    spec.device = device;
    EXPECT_TRUE(validate(spec, ErrorCode::kConfig)) << device;
  }
  for (const char* device : {"", "gpu", "cuda:", "cuda:x", "CPU"}) {
    spec.device = device;
    EXPECT_FALSE(validate(spec, ErrorCode::kConfig)) << device;
  }
  spec = valid_spec();
  spec.tls_key = "/k.pem";
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message, HasSubstr("only the key"));
  spec = valid_spec();
  spec.replicas = 2;
  spec.listen = "127.0.0.1";
  EXPECT_TRUE(validate(spec, ErrorCode::kConfig));
  spec.listen = "127.0.0.1:9000";
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message, HasSubstr("cannot share"));
  spec = valid_spec();
  spec.slurm.partition = "gpu";
  EXPECT_THAT(validate(spec, ErrorCode::kConfig).error().message, HasSubstr("local"));
}

TEST(SpecFields, DefaultNamesAreValid) {
  EXPECT_EQ(default_name("/models/DeepSeek-V3/"), "deepseek-v3");
  EXPECT_EQ(default_name("/m/..weird__name.."), "weird-name");
  EXPECT_EQ(default_name("/m/模型"), "model");
  DeploymentSpec spec = valid_spec();
  spec.name = default_name(std::string(200, 'x') + "-");
  EXPECT_TRUE(validate(spec, ErrorCode::kConfig)) << spec.name;
}

TEST(SpecFields, ArgumentsParseBackToTheSameSpecification) {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "config.json") << "{}";
  DeploymentSpec spec = valid_spec();
  spec.model = folder.path().string();
  spec.cluster = ClusterKind::kSlurm;
  spec.tp = 2;
  spec.pp = 5;
  spec.kv_tokens = 7'000'000'000;
  spec.dtype = "f32";
  spec.fp8_activations = true;
  spec.fp8_cache = true;
  spec.allow_fallback = true;
  spec.require_transport = "rc_verbs";
  spec.replicas = 3;
  spec.gateways = 2;
  spec.preprocess_replicas = 4;
  spec.routing_policy = "prefix";
  spec.keys = "/keys.json";
  spec.gateway_listen = "0.0.0.0:8000";
  spec.slurm.nodes = "2-4";
  spec.slurm.cpus_per_task = 3;
  spec.slurm.constraint = "it's \"quoted\" and has blanks";
  spec.slurm.requeue = true;

  Command command("dslaunch", "test");
  SpecFlags flags;
  flags.add_to(command, SpecFlagSet::kDeployment, true);
  const std::vector<std::string> arguments = to_arguments(spec);
  std::vector<const char*> argv = {"dslaunch"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  command.set_action([]() -> Result<int> { return 0; });
  const Result<int> ran = command.run(static_cast<int>(argv.size()), argv.data());
  ASSERT_TRUE(ran) << ran.error().to_string();
  const Result<DeploymentSpec> parsed = flags.resolve();
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_EQ(*parsed, spec);
}

TEST(SpecFields, FlagsOverrideTheFile) {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "config.json") << "{}";
  std::ofstream(folder.path() / "s.yaml") << "model: .\nname: demo\ntp: 2\npp: 2\n";
  const std::string file = (folder.path() / "s.yaml").string();
  Command command("dslaunch", "test");
  SpecFlags flags;
  flags.add_to(command, SpecFlagSet::kDeployment, true);
  command.set_action([]() -> Result<int> { return 0; });
  const char* argv[] = {"dslaunch", file.c_str(), "--pp", "1"};
  ASSERT_TRUE(command.run(4, argv));
  const Result<DeploymentSpec> spec = flags.resolve();
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->tp, 2);
  EXPECT_EQ(spec->pp, 1);
  EXPECT_EQ(spec->model, folder.path().string());
}

}  // namespace
}  // namespace dsl::launcher
