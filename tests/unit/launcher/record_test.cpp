#include "launcher/deployment/record.h"

#include <gmock/gmock.h>

namespace dsl::launcher {
namespace {

DeploymentRecord full_record() {
  DeploymentRecord record;
  record.name = "demo";
  record.launch_id = "0123456789abcdef";
  record.cluster = ClusterKind::kSlurm;
  record.state = DeploymentState::kFailed;
  record.model = "/models/\xE6\xA8\xA1";
  record.tp = 2;
  record.pp = 3;
  record.deadline_ms = 20'000;
  record.version = "0.1.0";
  record.started_unix_s = 1'800'000'000;
  record.endpoint = "n1:1234";
  record.owner = {42, 4242, "n1"};
  record.allocation_id = "77";
  record.nodes = {"n1", "n2"};
  record.links = {{0, 1, "shm", "memory"}, {1, 2, "tcp", "eth0"}};
  record.paths = {{0, 3, "pinned", "nccl"}, {4, 5, "pinned", "host"}};
  record.bytes_loaded = 5'000'000'000;
  record.bytes_total = 6'000'000'000;
  record.error = {ErrorCode::kPeerLost, "rank 2: gone", "look"};
  return record;
}

TEST(Record, SurvivesJson) {
  const DeploymentRecord record = full_record();
  const Result<DeploymentRecord> back = parse_record(to_json(record));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), to_json(record));
  EXPECT_EQ(back->deadline_ms, 20'000);
  EXPECT_EQ(back->owner, record.owner);
  EXPECT_EQ(back->links, record.links);
  EXPECT_EQ(back->paths, record.paths);
  EXPECT_EQ(back->error.code, ErrorCode::kPeerLost);
}

TEST(Record, SaysWhichPartItIs) {
  DeploymentRecord record = full_record();
  EXPECT_EQ(parse_record(to_json(record))->part, DeploymentPart::kReplica);
  record.replica = 3;
  EXPECT_EQ(parse_record(to_json(record))->replica, 3);
  EXPECT_FALSE(is_same_part(record, full_record()));
  record = full_record();
  record.part = DeploymentPart::kServices;
  EXPECT_EQ(parse_record(to_json(record))->part, DeploymentPart::kServices);
  std::string text = to_json(record);
  text.replace(text.find("\"services\""), 10, "\"something\"");
  EXPECT_FALSE(parse_record(text));
}

TEST(Record, LeavesLinksOutWhenSpaceIsShort) {
  DeploymentRecord record = full_record();
  record.links.assign(1000, {0, 1, "rc_verbs", "mlx5_0:1"});
  const std::string text = to_json(record, 1024);
  EXPECT_LE(text.size(), 1024U);
  const auto read = parse_record(text);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->links.empty());
  EXPECT_EQ(read->paths, record.paths);
}

TEST(Record, RanksOfEqualPathsAreOneEntry) {
  std::vector<PathRecord> paths;
  for (int rank = 0; rank < 4; ++rank) add_path(paths, {rank, rank, "pinned", "nccl"});
  add_path(paths, {4, 4, "pinned", "host"});
  EXPECT_EQ(paths, (std::vector<PathRecord>{{0, 3, "pinned", "nccl"}, {4, 4, "pinned", "host"}}));
}

TEST(Record, NamesTheWrongField) {
  const auto message = [](std::string text, const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
    const Result<DeploymentRecord> record = parse_record(text);
    return record ? "no error" : record.error().message;
  };
  const std::string good = to_json(full_record());
  EXPECT_THAT(message(good, "\"tp\":2", "\"tp\":\"2\""), testing::HasSubstr("\"tp\""));
  EXPECT_THAT(message(good, "\"state\":\"failed\"", "\"state\":\"odd\""),
              testing::HasSubstr("\"state\""));
  EXPECT_THAT(message(good, "\"launch\"", "\"lunch\""),
              testing::HasSubstr("\"launch\" is missing"));
  EXPECT_THAT(message(good, "[0,1,", "[0,"), testing::HasSubstr("\"links\""));
  EXPECT_THAT(message(good, "[0,3,", "[0,"), testing::HasSubstr("\"paths\""));
  EXPECT_FALSE(parse_record("[]"));
  EXPECT_FALSE(parse_record("{\"name\":"));
  EXPECT_FALSE(parse_record(""));
}

TEST(Record, IgnoresFieldsOfNewerVersions) {
  std::string text = to_json(full_record());
  text.insert(1, "\"future\":[1,2],");
  EXPECT_TRUE(parse_record(text));
}

}  // namespace
}  // namespace dsl::launcher
