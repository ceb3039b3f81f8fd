#include "engine/serving/text_service/postprocessor.h"

#include <gmock/gmock.h>

#include "engine/serving/text_service/text_json.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using test::r1_model;

AnswerFormat split_chat() {
  AnswerFormat format;
  format.is_streamed = true;
  format.splits_reasoning = true;
  return format;
}

using Items = std::vector<json>;

std::string body_of(const Items& items) { return json{{"items", items}}.dump(); }

json item(const std::string& id, std::int64_t position, const std::string& text) {
  return {
      {"stream", id}, {"position", position}, {"token_ids", test::tokens_of(*r1_model(), text)}};
}

json whole_item(const std::string& id, std::int64_t position, const std::string& text) {
  json value = item(id, position, text);
  value["format"] = json::parse(to_json(split_chat()));
  return value;
}

json process(Postprocessor& postprocessor, const Items& items) {
  const auto answer = postprocessor.process(body_of(items));
  EXPECT_TRUE(answer.has_value()) << answer.error().to_string();
  return json::parse(answer.value_or("{}"))["items"];
}

std::string content_of(const json& update) {
  return json::parse(update["choice"].get<std::string>())["delta"]["content"];
}

TEST(Postprocessor, GoesOnWhereItWas) {
  Postprocessor postprocessor(r1_model(), {});
  EXPECT_EQ(content_of(process(postprocessor, Items{whole_item("a", 0, "1")})[0]), "1");
  const json updates = process(postprocessor, Items{item("a", 1, "23"), whole_item("b", 0, "4")});
  EXPECT_EQ(content_of(updates[0]), "23");
  EXPECT_EQ(content_of(updates[1]), "4");
  EXPECT_EQ(updates[0]["completion_tokens"], 3);
  json last = item("a", 3, "5");
  last["finish"] = "length";
  const json end = json::parse(process(postprocessor, Items{last})[0]["choice"].get<std::string>());
  EXPECT_EQ(end["delta"]["content"], "5");
  EXPECT_EQ(end["finish_reason"], "length");
  EXPECT_EQ(postprocessor.cache().num_streams(), 1u);  // b
}

TEST(Postprocessor, AsksForAllItDoesNotHave) {
  Postprocessor postprocessor(r1_model(), {});
  EXPECT_EQ(process(postprocessor, Items{item("a", 2, "3")})[0], (json{{"need", "all"}}));
  // An update that was lost on its way: the answer is elsewhere now.
  process(postprocessor, Items{whole_item("a", 0, "12")});
  EXPECT_EQ(process(postprocessor, Items{item("a", 0, "12")})[0], (json{{"need", "all"}}));
  // Any instance goes on from all tokens; the client has the first two.
  Postprocessor other(r1_model(), {});
  EXPECT_EQ(content_of(process(other, Items{whole_item("a", 2, "123")})[0]), "3");
  EXPECT_EQ(other.num_rebuilds(), 1);
}

TEST(Postprocessor, KeepsAsManyAnswersAsThereIsRoomFor) {
  Postprocessor few(r1_model(), {2, std::size_t{1} << 20});
  for (const char* id : {"a", "b", "c"}) process(few, Items{whole_item(id, 0, "1")});
  EXPECT_EQ(few.cache().num_streams(), 2u);
  EXPECT_EQ(process(few, Items{item("a", 1, "2")})[0], (json{{"need", "all"}}));
  EXPECT_EQ(content_of(process(few, Items{item("c", 1, "2")})[0]), "2");

  Postprocessor small(r1_model(), {1000, 10'000});
  for (int i = 0; i < 100; ++i)
    process(small, Items{whole_item("stream " + std::to_string(i), 0, "1")});
  EXPECT_LE(small.cache().num_bytes(), 10'000u);
  EXPECT_GT(small.cache().num_evictions(), 50);
}

TEST(Postprocessor, AnIdleStreamIsSmall) {
  Postprocessor postprocessor(r1_model(), {});
  for (int i = 0; i < 10; ++i) process(postprocessor, Items{whole_item(std::to_string(i), 0, "1")});
  EXPECT_LE(postprocessor.cache().num_bytes(), 10u * 4096);
}

TEST(Postprocessor, RefusesWhatIsMalformed) {
  Postprocessor postprocessor(r1_model(), {});
  const json format = json::parse(to_json(split_chat()));
  json bad_format = format;
  bad_format["kind"] = "poem";
  json bad_stop = format;
  bad_stop["stop"] = {""};
  const json base{{"stream", "a"}, {"token_ids", {1}}};
  const auto with = [&](const char* name, const json& value) {
    json changed = base;
    changed[name] = value;
    return changed;
  };
  json late = with("format", format);
  late["position"] = 2;
  std::vector<std::string> bodies{"{", "[]", "{}", R"({"items":[1]})", R"({"items":{}})"};
  for (const json& item :
       {with("stream", ""), with("position", -1), with("token_ids", {-1}), with("token_ids", 1),
        with("format", bad_format), with("format", bad_stop), late, with("finish", "end")})
    bodies.push_back(body_of(Items{item}));
  for (const std::string& body : bodies) {
    const auto answer = postprocessor.process(body);
    ASSERT_FALSE(answer.has_value()) << body;
    EXPECT_EQ(answer.error().code, ErrorCode::kRequestInvalid);
  }
}

}  // namespace
}  // namespace dsl::serving
