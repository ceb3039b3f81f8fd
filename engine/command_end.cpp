#include "engine/command_end.h"

#include "engine/serving/process/command_line.h"

namespace dsl {

int end_with(const Status& status, bool is_json) {
  return status ? 0 : serving::print_error(status.error(), is_json);
}

}  // namespace dsl
