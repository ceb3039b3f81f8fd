#include "launcher/output/progress.h"

#include <gmock/gmock.h>

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

/// A stream in memory.
class Sink {
 public:
  Sink() : file_(::open_memstream(&text_, &size_)) {}
  ~Sink() {
    std::fclose(file_);
    std::free(text_);
  }
  std::FILE* file() const { return file_; }
  std::string text() const {
    std::fflush(file_);
    return {text_, size_};
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_;
};

TEST(Progress, ShowsNothingOfShortWork) {
  const Sink sink;
  const auto start = Progress::Clock::now();
  {
    Progress progress("loading", Progress::Style::kBar, sink.file(), start);
    progress.update(1, 2, start + milliseconds(1900));
  }
  EXPECT_EQ(sink.text(), "");
}

TEST(Progress, BarIsRedrawnAndRemoved) {
  const Sink sink;
  const auto start = Progress::Clock::now();
  {
    Progress progress("loading", Progress::Style::kBar, sink.file(), start);
    progress.update(1'000'000'000, 4'000'000'000, start + seconds(2));
    progress.update(1'100'000'000, 4'000'000'000, start + milliseconds(2050));
    progress.update(2'000'000'000, 4'000'000'000, start + seconds(4));
  }
  EXPECT_THAT(sink.text(), HasSubstr(" 25 %  1.00 GB of 4.00 GB  500 MB/s  6.0 s left"));
  EXPECT_THAT(sink.text(), HasSubstr(" 50 %"));
  EXPECT_THAT(sink.text(), testing::Not(HasSubstr("1.10 GB")));
  EXPECT_THAT(sink.text(), testing::EndsWith("\r\x1b[K"));
}

TEST(Progress, LinesComeNowAndThenWithoutControlCharacters) {
  const Sink sink;
  const auto start = Progress::Clock::now();
  Progress progress("loading", Progress::Style::kLines, sink.file(), start);
  for (int i = 0; i <= 100; ++i) progress.update(i, 100, start + milliseconds(100 * i));
  const std::string text = sink.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_THAT(text, testing::Not(HasSubstr("\x1b")));
}

TEST(Progress, NotesAreSaidOnceAndNotTooOften) {
  const Sink sink;
  const auto start = Progress::Clock::now();
  Progress progress("queue", Progress::Style::kLines, sink.file(), start);
  progress.note("short", start + seconds(1));
  progress.note("waits", start + seconds(2));
  progress.note("waits", start + seconds(9));
  progress.note("starts", start + seconds(10));
  progress.note("soon", start + seconds(11));
  EXPECT_EQ(sink.text(), "queue: waits\nqueue: starts\n");
}

TEST(Progress, TextNeverDividesByZeroNorOverflowsTheBar) {
  EXPECT_THAT(progress_text("x", 0, 100, 0), HasSubstr("  0 %"));
  EXPECT_THAT(progress_text("x", 200, 100, 1), HasSubstr("100 %"));
  EXPECT_EQ(progress_text("x", 5, 0, 1), "x  1.0 s");
}

TEST(Progress, ARemarkStaysAndComesOnce) {
  for (const auto style : {Progress::Style::kBar, Progress::Style::kLines}) {
    const Sink sink;
    const auto start = Progress::Clock::now();
    Progress progress("queue", style, sink.file(), start);
    progress.remark("free a node", start + seconds(1));
    EXPECT_EQ(sink.text(), "") << "short work is silent";
    progress.note("waits", start + seconds(3));
    const std::size_t before = sink.text().size();
    progress.remark("free a node", start + seconds(4));
    progress.remark("free a node", start + seconds(5));
    const std::string added = sink.text().substr(before);
    EXPECT_THAT(added, testing::EndsWith("queue: free a node\n"));
    EXPECT_EQ(added.find("queue"), added.rfind("queue"));
  }
}

}  // namespace
}  // namespace dsl::launcher
