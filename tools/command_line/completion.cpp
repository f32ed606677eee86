#include "tools/command_line/completion.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace meshloom {
namespace {

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }

// The words that may follow "meshloom": each command once.
std::string first_words(const std::vector<CommandNames>& commands) {
  std::string result;
  std::set<std::string> seen;
  for (const CommandNames& each : commands)
    if (seen.insert(first_word(each.command)).second) result += (result.empty() ? "" : " ") + first_word(each.command);
  return result;
}

// The words that may follow a command's first word: second words of nested commands, else nothing.
std::string second_words(const std::vector<CommandNames>& commands, const std::string& first) {
  std::string result;
  for (const CommandNames& each : commands)
    if (each.command.size() > first.size() && each.command.starts_with(first + " "))
      result += (result.empty() ? "" : " ") + each.command.substr(first.size() + 1);
  return result;
}

// For bash: by command and the word before, the values that may follow.
std::string value_cases(const std::vector<CommandNames>& commands) {
  std::string cases;
  for (const CommandNames& each : commands)
    for (const OptionValues& option : each.values)
      cases += option.option.empty()
                   ? fmt::format("    \"{}\") words=\"{}\" ;;\n", each.command, fmt::join(option.values, " "))
                   : fmt::format("    \"{}\"*\" {}\") words=\"{}\"{} ;;\n", each.command, option.option,
                                 fmt::join(option.values, " "), option.takes_several ? " several=," : "");
  return cases;
}

// For zsh the same.
std::string zsh_value_cases(const std::vector<CommandNames>& commands) {
  std::string cases;
  for (const CommandNames& each : commands)
    for (const OptionValues& option : each.values) {
      const std::string values = fmt::format("{}", fmt::join(option.values, " "));
      if (option.option.empty())
        cases += fmt::format("    \"{}\") compadd -- {}; return ;;\n", each.command, values);
      else
        cases += fmt::format("    \"{}\"*\" {}\") {}compadd -- {}; return ;;\n", each.command, option.option,
                             option.takes_several ? "compset -P '*,'; " : "", values);
    }
  return cases;
}

std::string bash_script(const std::vector<CommandNames>& commands) {
  std::string cases;
  for (const CommandNames& each : commands) {
    cases += fmt::format("    \"{}\"*) options=\"{}\" ;;\n", each.command, fmt::join(each.options, " "));
  }
  std::string nested;
  for (const CommandNames& each : commands) {
    const std::string words = second_words(commands, first_word(each.command));
    if (!words.empty() && nested.find(words) == std::string::npos)
      nested += fmt::format("    \"{}\") words=\"{}\" ;;\n", first_word(each.command), words);
  }
  return fmt::format(
      R"(# meshloom completion for bash; load it with: source <(meshloom completion bash)
_meshloom() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words="" options="" several="" before=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "{}" -- "$current")
    return
  fi
  case "${{COMP_WORDS[*]:1:COMP_CWORD-1}}" in
{}  esac
  case "${{COMP_WORDS[*]:1:COMP_CWORD-1}}" in
{}  esac
  case "${{COMP_WORDS[*]:1}}" in
{}  esac
  case "$current" in
    -*) words=$options ;;
  esac
  if [ -n "$several" ] && [[ $current == *,* ]]; then
    before=${{current%,*}},
    words=$(printf "$before%s " $words)
  fi
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -o filenames -F _meshloom meshloom
)",
      first_words(commands), nested, value_cases(commands), cases);
}

// zsh runs bash's completion functions.
std::string zsh_script(const std::vector<CommandNames>& commands) {
  std::string cases;
  for (const CommandNames& each : commands)
    cases += fmt::format("    \"{}\"*) options=({}) ;;\n", each.command, fmt::join(each.options, " "));
  return fmt::format(
      R"(#compdef meshloom
# meshloom completion for zsh; put it into a folder of $fpath as _meshloom
_meshloom() {{
  local -a options
  if (( CURRENT == 2 )); then
    compadd -- {}
    return
  fi
  case "${{(j: :)words[2,CURRENT-1]}}" in
{}  esac
  case "${{words[*]:1}}" in
{}  esac
  [[ ${{words[CURRENT]}} == -* ]] && compadd -- $options
  _files
}}
if [ "$funcstack[1]" = "_meshloom" ]; then _meshloom "$@"; else compdef _meshloom meshloom; fi
)",
      first_words(commands), zsh_value_cases(commands), cases);
}

// What fish offers behind an option, or as the command's argument; no files then.
std::string fish_values(const OptionValues& option) {
  const std::string values = fmt::format("{}", fmt::join(option.values, " "));
  return option.takes_several ? fmt::format(" -x -a \"(__fish_append , {})\"", values)
                              : fmt::format(" {} -a \"{}\"", option.option.empty() ? "-f" : "-x", values);
}

std::string fish_script(const std::vector<CommandNames>& commands) {
  std::string lines = "# meshloom completion for fish; load it with: meshloom completion fish | source\n";
  lines += fmt::format("complete -c meshloom -n __fish_use_subcommand -f -a \"{}\"\n", first_words(commands));
  for (const CommandNames& each : commands) {
    std::string condition;
    for (std::string rest = each.command; !rest.empty();) {
      const std::string word = first_word(rest);
      condition += fmt::format("{}__fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ", word);
      rest = rest.size() > word.size() ? rest.substr(word.size() + 1) : "";
    }
    for (const std::string& option : each.options) {
      const auto values = std::find_if(each.values.begin(), each.values.end(),
                                       [&](const OptionValues& known) { return known.option == option; });
      lines += fmt::format("complete -c meshloom -n \"{}\" {} {}{}\n", condition,
                           option.starts_with("--") ? "-l" : "-s", option.substr(option.find_first_not_of('-')),
                           values == each.values.end() ? "" : fish_values(*values));
    }
    for (const OptionValues& option : each.values)
      if (option.option.empty())
        lines += fmt::format("complete -c meshloom -n \"{}\"{}\n", condition, fish_values(option));
  }
  return lines;
}

}  // namespace

std::string completion_script(std::string_view shell, const std::vector<CommandNames>& commands) {
  if (shell == "bash") return bash_script(commands);
  if (shell == "zsh") return zsh_script(commands);
  return fish_script(commands);
}

}  // namespace meshloom
