#include "launcher/output/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "launcher/output/human.h"

namespace dsl::launcher {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kQuietTime{2000};
constexpr milliseconds kBarInterval{200};
constexpr milliseconds kLineInterval{5000};
constexpr int kBarWidth = 24;

double seconds(Progress::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Progress::Style progress_style(std::FILE* out) {
  return ::isatty(::fileno(out)) == 1 ? Progress::Style::kBar : Progress::Style::kLines;
}

std::string progress_text(const std::string& what, std::int64_t bytes, std::int64_t total,
                          double elapsed_s) {
  const double rate = elapsed_s > 0 ? static_cast<double>(bytes) / elapsed_s : 0;
  if (total <= 0) return fmt::format("{}  {}", what, human_duration(elapsed_s));
  const double fraction = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total));
  const int filled = static_cast<int>(fraction * kBarWidth);
  std::string text = fmt::format("{}  [{:#<{}}{:.<{}}]  {:3.0f} %  {} of {}  {}/s", what, "",
                                 filled, "", kBarWidth - filled, fraction * 100, human_bytes(bytes),
                                 human_bytes(total), human_bytes(static_cast<std::int64_t>(rate)));
  if (rate > 0 && bytes < total) {
    text += fmt::format("  {} left", human_duration(static_cast<double>(total - bytes) / rate));
  }
  return text;
}

Progress::Progress(std::string what, Style style, std::FILE* out, Clock::time_point now)
    : what_(std::move(what)), style_(style), out_(out), start_(now) {}

Progress::~Progress() { clear(); }

bool Progress::is_quiet(Clock::time_point now) const {
  return style_ == Style::kSilent || now - start_ < kQuietTime;
}

bool Progress::is_due(Clock::time_point now) {
  if (is_quiet(now)) return false;
  const milliseconds interval = style_ == Style::kBar ? kBarInterval : kLineInterval;
  if (last_drawn_ && now - *last_drawn_ < interval) return false;
  last_drawn_ = now;
  return true;
}

void Progress::print(const std::string& text) {
  if (style_ == Style::kBar) {
    fmt::print(out_, "\r\x1b[K{}", text);
    drawn_ = true;
  } else {
    fmt::print(out_, "{}\n", text);
  }
  std::fflush(out_);
}

void Progress::update(std::int64_t bytes, std::int64_t total, Clock::time_point now) {
  if (is_due(now)) print(progress_text(what_, bytes, total, seconds(now - start_)));
}

void Progress::note(const std::string& text, Clock::time_point now) {
  // A line says something new or nothing; a bar shows that time passes.
  if (style_ == Style::kLines && text == last_note_) return;
  if (!is_due(now)) return;
  last_note_ = text;
  print(style_ == Style::kLines
            ? fmt::format("{}: {}", what_, text)
            : fmt::format("{}: {}  ({})", what_, text, human_duration(seconds(now - start_))));
}

void Progress::remark(const std::string& text, Clock::time_point now) {
  if (is_quiet(now) || text == last_remark_) return;
  last_remark_ = text;
  clear();
  fmt::print(out_, "{}: {}\n", what_, text);
  std::fflush(out_);
}

void Progress::clear() {
  if (!drawn_) return;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
  drawn_ = false;
}

}  // namespace dsl::launcher
