// Progress of long work: a bar with rate and time left on a terminal, a line now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace dsl::launcher {

/// Shows nothing for work shorter than two seconds. Thread-compatible. Clears its bar when it goes.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// Where lines go: a terminal gets a bar that is redrawn, anything else plain lines.
  enum class Style { kBar, kLines, kSilent };

  Progress(std::string what, Style style, std::FILE* out, Clock::time_point now = Clock::now());
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `total` 0: not known yet. Draws when it is time to.
  void update(std::int64_t bytes, std::int64_t total, Clock::time_point now = Clock::now());
  /// The same for work without bytes: what it waits for.
  void note(const std::string& text, Clock::time_point now = Clock::now());
  /// A line that stays, for what the user should know or do; the same text only once.
  void remark(const std::string& text, Clock::time_point now = Clock::now());
  /// Removes the bar.
  void clear();

 private:
  bool is_quiet(Clock::time_point now) const;
  bool is_due(Clock::time_point now);
  void print(const std::string& text);

  std::string what_;
  Style style_;
  std::FILE* out_;
  Clock::time_point start_;
  std::optional<Clock::time_point> last_drawn_;
  bool drawn_ = false;
  std::string last_note_;
  std::string last_remark_;
};

/// kBar on a terminal, kLines elsewhere, for a stream.
Progress::Style progress_style(std::FILE* out);

/// The bar's text: "loading  [#####.....]  50 %  1.2 of 2.4 GB  0.8 GB/s  2 s left".
std::string progress_text(const std::string& what, std::int64_t bytes, std::int64_t total,
                          double elapsed_s);

}  // namespace dsl::launcher
