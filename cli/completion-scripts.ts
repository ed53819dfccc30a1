// Completion scripts from the command tree: words and options are known when the script is made, so
// completing costs no process. What the tree does not know (names of queues) is left to the user; files are
// left to the shell, behind options that take one.
import type { Command, Option } from 'commander';
import { pathOf } from './command-path.ts';

interface CommandNode {
  /** `queue enqueue`; empty: the program. */
  path: string;
  subcommands: { name: string; description: string }[];
  options: CompletedOption[];
  /** Of the next argument, where they are known. */
  choices: readonly string[];
}

interface CompletedOption {
  flags: string[];
  description: string;
  value: 'none' | 'file' | 'choice' | 'any';
  choices: readonly string[];
}

function nodesOf(command: Command): CommandNode[] {
  const help = command.createHelp();
  const named = (each: Command) => ({ name: each.name(), description: each.description() });
  const node = {
    path: pathOf(command),
    subcommands: help.visibleCommands(command).map(named),
    options: [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)].map(completed),
    choices: command.registeredArguments[0]?.argChoices ?? [],
  };
  return [node, ...command.commands.flatMap(nodesOf)];
}

function completed(option: Option): CompletedOption {
  const { short, long, description, required, optional, argChoices = [] } = option;
  const kind = argChoices.length > 0 ? 'choice' : /<(?:file|path|dir)\b/.test(option.flags) ? 'file' : 'any';
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    description,
    value: required || optional ? kind : 'none',
    choices: argChoices,
  };
}

/** Options by what follows them, as patterns of a `case`. */
function patterns({ options }: CommandNode, value: CompletedOption['value']): string {
  return options.flatMap((option) => (option.value === value ? option.flags : [])).join('|');
}

const choiceLines = ({ options }: CommandNode, line: (flags: string, choices: string) => string) =>
  options.flatMap(({ value, flags, choices }) =>
    value === 'choice' ? [line(flags.join('|'), choices.join(' '))] : [],
  );

/** Lines of a `case` over the option before the cursor; empty patterns are left out. */
const caseLines = (lines: (string | undefined)[]) =>
  lines.flatMap((line) => (line === undefined ? [] : [`        ${line} ;;`])).join('\n');

const ifAny = (pattern: string, body: string) => (pattern === '' ? undefined : `${pattern}) ${body}`);

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

export function bashScript(program: Command): string {
  const nodes = nodesOf(program);
  const cases = nodes.map((node) => {
    const { path, subcommands, options, choices } = node;
    const words = [...subcommands.map(({ name }) => name), ...choices].join(' ');
    const flags = options.flatMap((option) => option.flags).join(' ');
    const previous = caseLines([
      ...choiceLines(node, (flag, values) => `${flag}) words=${quoted(values)}; options=''`),
      ifAny(patterns(node, 'file'), 'compopt -o default; return'),
      ifAny(patterns(node, 'any'), 'return'),
    ]);
    return `    ${quoted(path)})
      words=${quoted(words)}
      options=${quoted(flags)}
      case "$previous" in
${previous}
      esac ;;`;
  });
  return `# bash completion of flowmesh, made by: flowmesh completion bash
_flowmesh() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local path='' word words='' options='' index
  # --state=dead arrives as three words.
  if [[ $current == '=' ]]; then current=''
  elif [[ $previous == '=' ]]; then previous="\${COMP_WORDS[COMP_CWORD-2]}"
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${path:+$path }\${COMP_WORDS[index]}"
    case "$word" in
      ${pathsOf(nodes)}) path="$word" ;;
    esac
  done
  COMPREPLY=()
  case "$path" in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then words="$options"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _flowmesh flowmesh
`;
}

const pathsOf = (nodes: CommandNode[]) =>
  nodes.flatMap(({ path }) => (path === '' ? [] : [quoted(path)])).join('|');

export function zshScript(program: Command): string {
  const nodes = nodesOf(program);
  // In `_describe` items a colon parts the word from its description.
  const item = (name: string, description: string) => quoted(`${name.replaceAll(':', '\\:')}:${description}`);
  const cases = nodes.map((node) => {
    const { path, subcommands, options, choices } = node;
    const words = [
      ...subcommands.map(({ name, description }) => item(name, description)),
      ...choices.map(quoted),
    ];
    const flags = options.flatMap((option) => option.flags.map((flag) => item(flag, option.description)));
    const previous = caseLines([
      ...choiceLines(node, (flag, values) => `${flag}) compadd -- ${values}; return`),
      ifAny(patterns(node, 'file'), '_files; return'),
      ifAny(patterns(node, 'any'), 'return'),
    ]);
    return `    ${quoted(path)})
      choices=(${words.join(' ')})
      flags=(${flags.join(' ')})
      case "$previous" in
${previous}
      esac ;;`;
  });
  return `#compdef flowmesh
# zsh completion of flowmesh, made by: flowmesh completion zsh
_flowmesh() {
  local path_='' word
  local -a choices flags
  local -a typed=("\${(@)words[2,CURRENT-1]}")
  local current="\${words[CURRENT]}" previous="\${words[CURRENT-1]}"
  for word in $typed; do
    case "\${path_:+$path_ }$word" in
      ${pathsOf(nodes)}) path_="\${path_:+$path_ }$word" ;;
    esac
  done
  if [[ $current == --*=* ]]; then
    previous="\${current%%=*}"
    compset -P '*='
  fi
  case "$path_" in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then _describe option flags
  elif (( $#choices )); then _describe command choices
  fi
}
if [[ $funcstack[1] == _flowmesh ]]; then _flowmesh "$@"; else compdef _flowmesh flowmesh; fi
`;
}

export function fishScript(program: Command): string {
  const nodes = nodesOf(program);
  const lines = nodes.flatMap(({ path, subcommands, options, choices }) => {
    const when = `-n ${quoted(`__flowmesh_at ${quotedFish(path)}`)}`;
    return [
      ...subcommands.map(
        ({ name, description }) => `complete -c flowmesh ${when} -f -a ${name} -d ${quotedFish(description)}`,
      ),
      ...choices.map((choice) => `complete -c flowmesh ${when} -f -a ${choice}`),
      ...options.map((option) => `complete -c flowmesh ${when} ${fishOption(option)}`),
    ];
  });
  const paths = nodes.flatMap(({ path }) => (path === '' ? [] : [quotedFish(path)]));
  return `# fish completion of flowmesh, made by: flowmesh completion fish
function __flowmesh_at
  set -l path ''
  for word in (commandline -opc)[2..]
    set -l longer (string trim "$path $word")
    contains -- $longer ${paths.join(' ')}; and set path $longer
  end
  test "$path" = "$argv"
end
complete -c flowmesh -f
${lines.join('\n')}
`;
}

const quotedFish = (text: string) => `"${text.replaceAll(/["\\$]/g, '\\$&')}"`;

function fishOption({ flags, description, value: kind, choices }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = {
    none: '-f',
    file: '-r -F',
    choice: `-x -a ${quotedFish(choices.join(' '))}`,
    any: '-x',
  }[kind];
  return `${names.join(' ')} ${value} -d ${quotedFish(description)}`;
}
