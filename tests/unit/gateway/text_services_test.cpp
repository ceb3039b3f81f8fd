#include "engine/serving/gateway/text_services.h"

#include <gtest/gtest.h>

namespace dsl::serving {
namespace {

using namespace std::chrono_literals;

ServiceEntry service(const std::string& endpoint, ServiceRole role = ServiceRole::kPostprocess) {
  ServiceEntry entry;
  entry.endpoint = endpoint;
  entry.role = role;
  return entry;
}

TEST(TextServices, TakeTurns) {
  TextServices services(ServiceRole::kPostprocess);
  const TextServices::Clock::time_point now{};
  EXPECT_FALSE(services.next(now).has_value());
  ServiceEntry draining = service("c");
  draining.is_draining = true;
  services.set_services(
      {service("a"), service("p", ServiceRole::kPreprocess), draining, service("b")});
  EXPECT_EQ(services.next(now), "a");
  EXPECT_EQ(services.next(now), "b");
  EXPECT_EQ(services.next(now), "a");
  EXPECT_TRUE(services.is_usable("b", now));
  EXPECT_FALSE(services.is_usable("c", now));
  EXPECT_FALSE(services.is_usable("", now));
}

TEST(TextServices, RestLongerEachTimeThatTheyFail) {
  TextServices services(ServiceRole::kPostprocess);
  TextServices::Clock::time_point now{};
  services.set_services({service("a"), service("b")});
  services.note_failure("a", now);
  EXPECT_EQ(services.next(now), "b");
  EXPECT_EQ(services.next(now), "b");
  services.note_failure("b", now);
  EXPECT_FALSE(services.next(now).has_value());
  services.set_services({service("a"), service("b")});
  EXPECT_FALSE(services.next(now + 1999ms).has_value()) << "news of the folder end no rest";
  now += 2s;
  EXPECT_TRUE(services.is_usable("a", now));
  services.note_failure("a", now);
  EXPECT_FALSE(services.is_usable("a", now + 3999ms));
  EXPECT_TRUE(services.is_usable("a", now + 4s));
  services.note_success("a");
  services.note_failure("a", now);
  EXPECT_TRUE(services.is_usable("a", now + 2s));
}

}  // namespace
}  // namespace dsl::serving
