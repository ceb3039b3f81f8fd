// What a deployment keeps beside its record: wanted numbers, entries, keys, command lines.
#include <gmock/gmock.h>

#include <fstream>

#include "launcher/controller/service_command.h"
#include "launcher/deployment/api_keys.h"
#include "launcher/deployment/private_files.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/wanted_services.h"
#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST(WantedServices, SurviveJsonAndRefuseOtherThings) {
  WantedServices wanted{2, 3, 4, "prefix", {1, 5}, 6};
  const Result<WantedServices> back = parse_wanted(to_json(wanted));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, wanted);
  for (const char* text :
       {"", "[]", "{}", R"({"gateways":"2"})", R"({"gateways":-1,"preprocess":0,"postprocess":0})",
        R"({"gateways":1,"preprocess":0,"postprocess":65})",
        R"({"gateways":1,"preprocess":0,"postprocess":0,"routing_policy":7})"}) {
    EXPECT_EQ(parse_wanted(text).error().code, ErrorCode::kConfig) << text;
  }
}

TEST(WantedServices, ChangeOneFieldAtATime) {
  const ScratchFolder scratch;
  const DeploymentFolder folder(scratch.path() / "deployments/demo");
  ASSERT_TRUE(folder.make());
  WantedChange change;
  change.preprocess = 3;
  EXPECT_EQ(change_wanted(folder, change).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_wanted(folder, WantedServices{1, 1, 1, "least-work", {}, 3}));
  change.drain_replica = 2;
  change.min_replicas = 2;
  ASSERT_TRUE(change_wanted(folder, change));
  EXPECT_EQ(*read_wanted(folder), (WantedServices{1, 3, 1, "least-work", {2}, 3}));
  EXPECT_TRUE(folder.remove());
  EXPECT_TRUE(folder.remove()) << "gone already is fine";
}

ServiceEntry an_entry() {
  ServiceEntry entry;
  entry.id = "gateway-0";
  entry.role = ServiceRole::kGateway;
  entry.endpoint = "127.0.0.1:8000";
  entry.model = "/m";
  entry.tp = 2;
  entry.launch_id = "01";
  entry.owner = {42, 7, "n1"};
  entry.url = "http://127.0.0.1:8000";
  return entry;
}

TEST(ServiceEntry, SurvivesJson) {
  ServiceEntry entry = an_entry();
  entry.state = ServiceState::kDraining;
  const Result<ServiceEntry> back = parse_service_entry(to_json(entry));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, entry);
  std::string text = to_json(entry);
  text.replace(text.find("\"gateway\""), 9, "\"something\"");
  EXPECT_THAT(parse_service_entry(text).error().message, HasSubstr("\"role\""));
  EXPECT_FALSE(parse_service_entry("[]"));
  EXPECT_FALSE(parse_service_entry("{}"));
}

TEST(ServicePublisher, KeepsTheFolderAsTold) {
  const ScratchFolder scratch;
  const auto folder = scratch.path() / "services";
  ASSERT_TRUE(make_private_folder(folder));
  ASSERT_TRUE(write_private_file(folder / "old.json", to_json(an_entry())));
  Result<ServicePublisher> publisher = ServicePublisher::open(folder);
  ASSERT_TRUE(publisher);
  EXPECT_TRUE(read_service_entries(folder).empty()) << "an earlier controller's entries are gone";
  ASSERT_TRUE(publisher->publish(an_entry()));
  ASSERT_TRUE(publisher->set_routing_policy("prefix"));
  EXPECT_THAT(read_service_entries(folder), testing::ElementsAre(an_entry()));
  std::ifstream settings(folder / "settings.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(settings), {}),
            R"({"routing_policy":"prefix"})");
  std::ofstream(folder / "open.json") << to_json(an_entry());
  std::filesystem::permissions(folder / "open.json", std::filesystem::perms(0644));
  EXPECT_EQ(read_service_entries(folder).size(), 1U) << "a file that others read is skipped";
  publisher->withdraw("gateway-0");
  publisher->withdraw("gateway-0");
  EXPECT_TRUE(read_service_entries(folder).empty());
}

TEST(ApiKeys, AreAddedRevokedAndKept) {
  std::vector<ApiKey> keys;
  const Result<std::string> text = make_api_key();
  ASSERT_TRUE(text);
  ApiKey key;
  key.name = "team-1";
  key.sha256 = *hash_api_key(*text);
  key.created_unix_s = 1;
  key.tokens_per_minute = 1000;
  key.priority = -3;
  ASSERT_TRUE(add_api_key(keys, key));
  EXPECT_EQ(add_api_key(keys, key).error().code, ErrorCode::kInvalidArgument);
  key.name = "a b";
  EXPECT_FALSE(add_api_key(keys, key));
  const auto back = parse_api_keys(to_json(keys), "keys.json");
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, keys);
  EXPECT_THAT(revoke_api_key(keys, "nobody").error().message, HasSubstr("team-1"));
  EXPECT_TRUE(revoke_api_key(keys, "team-1"));
  EXPECT_TRUE(keys.empty());
}

TEST(ApiKeys, HashIsThatOfTheText) {
  EXPECT_EQ(*hash_api_key("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ApiKeys, AFileIsReadStrictly) {
  const std::string hash(64, 'a');
  const auto message = [&](const std::string& keys) {
    const auto read = parse_api_keys("{\"keys\":[" + keys + "]}", "k");
    return read ? "no error" : read.error().message;
  };
  const std::string good = "{\"name\":\"a\",\"sha256\":\"" + hash + "\"}";
  EXPECT_EQ(message(good), "no error");
  EXPECT_THAT(message(good + "," + good), HasSubstr("already"));
  EXPECT_THAT(message("{\"name\":\"a\"}"), HasSubstr("sha256"));
  EXPECT_THAT(message("{\"name\":1,\"sha256\":\"" + hash + "\"}"), HasSubstr("name"));
  EXPECT_THAT(message("{\"nam\":\"a\"}"), HasSubstr("nam is not known"));
  EXPECT_THAT(message("{\"name\":\"a\",\"sha256\":\"" + hash + "\",\"max_streams\":0}"),
              HasSubstr("max_streams"));
  EXPECT_FALSE(parse_api_keys("{}", "k"));
  EXPECT_FALSE(parse_api_keys("{\"keys\":[],\"more\":1}", "k"));
}

class ServiceCommandTest : public testing::Test {
 protected:
  ServiceCommandTest() {
    ::setenv("DSLAUNCH_GATEWAY", "/bin/true", 1);
    ::setenv("DSLAUNCH_TEXT", "/bin/true", 1);
    spec_.name = "demo";
    spec_.model = "/m";
  }
  std::string listen_of(const std::string& asked, int index, const std::string& last = "",
                        const std::string& host = "10.0.0.1") {
    spec_.gateway_listen = asked;
    const auto argv = gateway_command(spec_, DeploymentFolder("/f"), host, index, last);
    if (!argv) return argv.error().message;
    const auto flag = std::find(argv->begin(), argv->end(), "--listen");
    return *(flag + 1);
  }
  DeploymentSpec spec_;
};

TEST_F(ServiceCommandTest, EveryGatewayListensSomewhereElse) {
  EXPECT_EQ(listen_of("", 0), "10.0.0.1:0");
  EXPECT_EQ(listen_of("0.0.0.0", 3), "0.0.0.0:0");
  EXPECT_EQ(listen_of("0.0.0.0:8000", 0), "0.0.0.0:8000");
  EXPECT_EQ(listen_of("0.0.0.0:8000", 2), "0.0.0.0:8002");
  EXPECT_EQ(listen_of("unix:/run/s", 0), "unix:/run/s");
  EXPECT_EQ(listen_of("unix:/run/s", 1), "unix:/run/s.1");
  EXPECT_THAT(listen_of("0.0.0.0:65535", 1), HasSubstr("no port for gateway 1"));
  EXPECT_THAT(listen_of("0.0.0.0:http", 0), HasSubstr("no port"));
}

TEST_F(ServiceCommandTest, AGatewayThatMayTakeAnyPortTakesItsLastOne) {
  EXPECT_EQ(listen_of("", 0, "10.0.0.2:4711"), "10.0.0.1:4711");
  EXPECT_EQ(listen_of("0.0.0.0", 1, "0.0.0.0:4711"), "0.0.0.0:4711");
  EXPECT_EQ(listen_of("[::]:0", 1, "[::]:4711"), "[::]:4711");
  EXPECT_EQ(listen_of("0.0.0.0:8000", 1, "0.0.0.0:4711"), "0.0.0.0:8001");
  EXPECT_EQ(listen_of("unix:/run/s", 0, "unix:/run/s"), "unix:/run/s");
}

TEST_F(ServiceCommandTest, HostsOfIPv6AreInBrackets) {
  EXPECT_EQ(listen_of("", 0, "", "fd00::1"), "[fd00::1]:0");
  EXPECT_EQ(listen_of("[::1]", 0), "[::1]:0");
  EXPECT_EQ(listen_of("[::1]:8000", 1), "[::1]:8001");
  EXPECT_EQ(public_url(spec_, "[::]:80", "fd00::1"), "http://[fd00::1]:80");
  EXPECT_EQ(public_url(spec_, "[::1]:80", "n1"), "http://[::1]:80");
}

TEST_F(ServiceCommandTest, NamesTheModelAsClientsDo) {
  spec_.served_model_name = "deepseek";
  const auto argv = text_service_command(spec_, ServiceRole::kPostprocess);
  ASSERT_TRUE(argv);
  EXPECT_THAT(*argv, Contains("deepseek"));
  EXPECT_THAT(*argv, Contains("postprocess"));
}

TEST_F(ServiceCommandTest, TheContextEndsWhereTheCacheDoes) {
  spec_.kv_tokens = 64;
  EXPECT_THAT(*text_service_command(spec_, ServiceRole::kPreprocess),
              testing::IsSupersetOf({"--max-context", "64"}));
  EXPECT_THAT(*gateway_command(spec_, DeploymentFolder("/f"), "h", 0),
              testing::IsSupersetOf({"--max-context", "64"}));
}

TEST_F(ServiceCommandTest, UrlsAreForClients) {
  EXPECT_EQ(public_url(spec_, "127.0.0.1:80", "n1"), "http://127.0.0.1:80");
  EXPECT_EQ(public_url(spec_, "0.0.0.0:80", "n1"), "http://n1:80");
  EXPECT_EQ(public_url(spec_, "unix:/s", "n1"), "unix:/s");
  spec_.tls_certificate = "/c";
  EXPECT_EQ(public_url(spec_, "n2:80", "n1"), "https://n2:80");
}

}  // namespace
}  // namespace dsl::launcher
