#include "slurm/cpu_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dsl::slurm {
namespace {

using ::testing::ElementsAre;

TEST(ExpandCpuCounts, RepeatsWhatIsGivenForSeveralNodes) {
  EXPECT_THAT(expand_cpu_counts("8(x3),4", 4).value(), ElementsAre(8, 8, 8, 4));
  EXPECT_THAT(expand_cpu_counts("72", 1).value(), ElementsAre(72));
}

TEST(ExpandCpuCounts, RefusesOtherNumbersOfNodesAndMalformedText) {
  for (const char* text : {"", "8", "8(x3)", "8(x1)", "8,8,8", "8(x", "8(x2", "8(2)", "a(x2)",
                           "8(x99999999999),1", "8,", ",8", "8(x2)x"}) {
    EXPECT_FALSE(expand_cpu_counts(text, 2).has_value()) << text;
  }
}

}  // namespace
}  // namespace dsl::slurm
