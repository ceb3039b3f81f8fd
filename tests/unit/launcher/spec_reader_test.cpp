#include "launcher/deployment/spec_reader.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

using testing::HasSubstr;

std::string message_of(std::string_view yaml) {
  const Result<DeploymentSpec> spec = parse_spec(yaml, "s.yaml");
  if (spec) return "no error";
  EXPECT_EQ(spec.error().code, ErrorCode::kConfig);
  return spec.error().message;
}

TEST(SpecReader, ReadsEveryKind) {
  const Result<DeploymentSpec> spec = parse_spec(
      "name: demo\nmodel: /m\ncluster: slurm\ntp: 2\npp: 3\nkv_tokens: 5000000000\n"
      "allow_fallback: true\nslurm:\n  nodes: 2-4\n  ntasks: 6\n  time: \"1:00:00\"\n  exclusive: "
      "true\n",
      "s.yaml");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->name, "demo");
  EXPECT_EQ(spec->cluster, ClusterKind::kSlurm);
  EXPECT_EQ(spec->world_size(), 6);
  EXPECT_EQ(spec->kv_tokens, 5'000'000'000);
  EXPECT_TRUE(spec->allow_fallback);
  EXPECT_EQ(spec->slurm.nodes, "2-4");
  EXPECT_EQ(spec->slurm.ntasks, 6);
  EXPECT_EQ(spec->slurm.time, "1:00:00");
  EXPECT_TRUE(spec->slurm.exclusive);
  EXPECT_FALSE(spec->slurm.requeue);
}

TEST(SpecReader, ReadsTheServices) {
  const Result<DeploymentSpec> spec = parse_spec(
      "model: /m\nreplicas: 2\ngateways: 3\npreprocess: {replicas: 4}\npostprocess:\n  replicas: "
      "5\n"
      "gateway: {listen: \"0.0.0.0:8000\", tls_certificate: c.pem, tls_key: k.pem}\n"
      "routing_policy: round-robin\nkeys: keys.json\nserved_model_name: deepseek\n",
      "s.yaml");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->replicas, 2);
  EXPECT_EQ(spec->gateways, 3);
  EXPECT_EQ(spec->preprocess_replicas, 4);
  EXPECT_EQ(spec->postprocess_replicas, 5);
  EXPECT_EQ(spec->gateway_listen, "0.0.0.0:8000");
  EXPECT_EQ(spec->tls_certificate, "c.pem");
  EXPECT_EQ(spec->routing_policy, "round-robin");
  EXPECT_EQ(spec->keys, "keys.json");
  EXPECT_EQ(spec->model_name(), "deepseek");
  EXPECT_THAT(message_of("preprocess: 2\n"), HasSubstr("expected a mapping, found a scalar"));
  EXPECT_EQ(message_of("gateway: {port: 1}\n"), "s.yaml:1:11: unknown key \"gateway.port\"");
  EXPECT_THAT(message_of("routing_policy: random\n"), HasSubstr("expected one of least-work"));
  EXPECT_THAT(message_of("replicas: 0\n"), HasSubstr("expected 1 to 64, found 0"));
}

TEST(SpecReader, NamesThePlaceOfAnUnknownKey) {
  EXPECT_EQ(message_of("model: /m\ntpp: 2\n"), "s.yaml:2:1: unknown key \"tpp\"");
  EXPECT_EQ(message_of("model: /m\nslurm:\n  partitoin: gpu\n"),
            "s.yaml:3:3: unknown key \"slurm.partitoin\"");
}

TEST(SpecReader, RefusesWrongTypesWithThePlaceOfTheValue) {
  EXPECT_THAT(message_of("tp: two\n"),
              HasSubstr("s.yaml:1:5: tp: expected an integer, found \"two\""));
  EXPECT_THAT(message_of("tp: \"2\"\n"),
              HasSubstr("s.yaml:1:5: tp: expected an integer, found the text"));
  EXPECT_THAT(message_of("tp: 2.5\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(message_of("tp: [2]\n"), HasSubstr("expected a scalar, found a sequence"));
  EXPECT_THAT(message_of("tp:\n"), HasSubstr("expected a scalar, found nothing"));
  EXPECT_THAT(message_of("slurm: 5\n"), HasSubstr("slurm: expected a mapping, found a scalar"));
  EXPECT_THAT(message_of("slurm:\n  exclusive: yes\n"), HasSubstr("expected true or false"));
  EXPECT_THAT(message_of("cluster: mars\n"), HasSubstr("expected one of local, slurm"));
}

TEST(SpecReader, RefusesValuesOutOfRange) {
  EXPECT_THAT(message_of("tp: 0\n"), HasSubstr("expected 1 to 8, found 0"));
  EXPECT_THAT(message_of("tp: 16\n"), HasSubstr("expected 1 to 8, found 16"));
  EXPECT_THAT(message_of("pp: 99999999999999999999\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(message_of("threads: -1\n"), HasSubstr("found -1"));
}

TEST(SpecReader, RefusesHostileDocuments) {
  EXPECT_THAT(message_of("tp: 1\ntp: 2\n"), HasSubstr("s.yaml:2:1: the key \"tp\" occurs twice"));
  EXPECT_THAT(message_of("- a\n- b\n"), HasSubstr("expected a mapping, found a sequence"));
  EXPECT_THAT(message_of(""), HasSubstr("expected a mapping, found nothing"));
  EXPECT_THAT(message_of("model: [unclosed\n"), HasSubstr("s.yaml:"));
  EXPECT_THAT(message_of("? [a]\n: b\n"), HasSubstr("expected a key, found a sequence"));
  EXPECT_THAT(message_of("name: \"a\\nb\"\n"), HasSubstr("line break"));
  EXPECT_THAT(message_of(std::string(100000, '[')), HasSubstr("deeper than any specification"));
  EXPECT_THAT(message_of(std::string(kMaxSpecBytes + 1, '#')), HasSubstr("larger or deeper"));
  std::string dashes;
  for (int i = 0; i < 50000; ++i) dashes += "- ";
  EXPECT_THAT(message_of(dashes), HasSubstr("deeper than any specification"));
  EXPECT_THAT(message_of("a: &a [x,x]\nb: *a\n"), HasSubstr("unknown key \"a\""));
}

TEST(SpecReader, TakesRelativeModelsFromTheFilesFolder) {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "s.yaml") << "model: models/demo\nkeys: /etc/keys.json\n";
  const Result<DeploymentSpec> spec = read_spec(folder.path() / "s.yaml");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->model, (folder.path() / "models/demo").string());
  EXPECT_EQ(spec->keys, "/etc/keys.json");
  EXPECT_EQ(read_spec(folder.path() / "none.yaml").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dsl::launcher
