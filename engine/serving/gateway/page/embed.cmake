# cmake -DPAGE_DIR=... -DOUTPUT=... -P embed.cmake: writes the page's files as a C++ source.
# @NAME@ in status.html becomes a hash of the file NAME, which lets browsers keep that file.
file(READ ${PAGE_DIR}/status.html html)
foreach(name IN ITEMS status.css status.js)
  file(SHA256 ${PAGE_DIR}/${name} hash)
  string(SUBSTRING ${hash} 0 16 hash)
  string(REPLACE "@${name}@" ${hash} html "${html}")
endforeach()
file(WRITE ${OUTPUT}.html "${html}")

set(text "// Made from the files of the status page.\n#include \"engine/serving/gateway/status_files.h\"\n\n")
string(APPEND text "namespace dsl::serving::status_files {\n")
set(path_of_html ${OUTPUT}.html)
set(path_of_css ${PAGE_DIR}/status.css)
set(path_of_js ${PAGE_DIR}/status.js)
foreach(kind IN ITEMS html css js)
  file(READ ${path_of_${kind}} bytes HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "\nstd::string_view ${kind}() {\n  static constexpr char kBytes[] = {${bytes}};\n"
    "  return {kBytes, sizeof kBytes};\n}\n")
endforeach()
file(WRITE ${OUTPUT} "${text}\n}  // namespace dsl::serving::status_files\n")
