// Completion scripts from the command tree: words and options are known when the script is made, so
// completing costs no process. What the tree does not know (names of queues) is left to the user; files are
// left to the shell.
import type { Command, Option } from 'commander';

interface CommandNode {
  /** `queue enqueue`; empty: the program. */
  path: string;
  description: string;
  subcommands: { name: string; description: string }[];
  options: CompletedOption[];
  /** Of the next argument, where they are known. */
  choices: string[];
}

interface CompletedOption {
  flags: string[];
  description: string;
  takesValue: boolean;
  choices: string[];
}

function nodesOf(program: Command): CommandNode[] {
  const visit = (command: Command, path: string[], inherited: readonly Option[]): CommandNode[] => {
    const options = [...inherited, ...command.options];
    const node: CommandNode = {
      path: path.join(' '),
      description: command.description(),
      subcommands: command.commands.map((each) => ({ name: each.name(), description: each.description() })),
      options: [...options.map(completed), help],
      choices: command.registeredArguments[0]?.argChoices ?? [],
    };
    return [node, ...command.commands.flatMap((each) => visit(each, [...path, each.name()], options))];
  };
  return visit(program, [], []);
}

const completed = ({
  short,
  long,
  description,
  required,
  optional,
  argChoices,
}: Option): CompletedOption => ({
  flags: [short, long].filter((flag) => flag !== undefined),
  description,
  takesValue: required || optional,
  choices: argChoices ?? [],
});

const help: CompletedOption = {
  flags: ['-h', '--help'],
  description: 'what there is',
  takesValue: false,
  choices: [],
};

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

export function bashScript(program: Command): string {
  const nodes = nodesOf(program);
  const cases = nodes.map(({ path, subcommands, options, choices }) => {
    const words = [...subcommands.map(({ name }) => name), ...choices].join(' ');
    const flags = options.flatMap((option) => option.flags).join(' ');
    return `    ${quoted(path)}) words=${quoted(words)}; options=${quoted(flags)} ;;`;
  });
  const valued = flagsWith(nodes, ({ takesValue, choices }) => takesValue && choices.length === 0);
  const chosen = new Map(
    nodes.flatMap(
      ({ options }) =>
        options.flatMap((o) => (o.choices.length > 0 ? [[o.flags.join('|'), o.choices.join(' ')]] : [])) as [
          string,
          string,
        ][],
    ),
  );
  return `# bash completion of flowmesh, made by: flowmesh completion bash
_flowmesh() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local path='' word words='' options='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${path:+$path }\${COMP_WORDS[index]}"
    case "$word" in
      ${pathsOf(nodes)}) path="$word" ;;
    esac
  done
  case "$previous" in
${[...chosen].map(([flags, words]) => `    ${flags}) words=${quoted(words)} ;;`).join('\n')}
    ${valued.join('|')}) compopt -o default; COMPREPLY=(); return ;;
  esac
  [[ $words ]] || case "$path" in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  else COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -F _flowmesh flowmesh
`;
}

function flagsWith(nodes: CommandNode[], wanted: (option: CompletedOption) => boolean): string[] {
  return [
    ...new Set(nodes.flatMap(({ options }) => options.filter(wanted).flatMap(({ flags }) => flags))),
  ].sort();
}

const pathsOf = (nodes: CommandNode[]) =>
  nodes.flatMap(({ path }) => (path === '' ? [] : [quoted(path)])).join('|');

export function zshScript(program: Command): string {
  const nodes = nodesOf(program);
  // In `_describe` items a colon parts the word from its description.
  const item = (name: string, description: string) => quoted(`${name.replaceAll(':', '\\:')}:${description}`);
  const cases = nodes.map(({ path, subcommands, options, choices }) => {
    const words = [
      ...subcommands.map(({ name, description }) => item(name, description)),
      ...choices.map(quoted),
    ];
    const flags = options.flatMap((option) => option.flags.map((flag) => item(flag, option.description)));
    return `    ${quoted(path)})\n      choices=(${words.join(' ')})\n      flags=(${flags.join(' ')}) ;;`;
  });
  const chosen = nodes.flatMap(({ options }) => options.filter(({ choices }) => choices.length > 0));
  const chosenCases = new Map(chosen.map(({ flags, choices }) => [flags.join('|'), choices.join(' ')]));
  const valued = flagsWith(nodes, ({ takesValue, choices }) => takesValue && choices.length === 0);
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
  case "$previous" in
${[...chosenCases].map(([flags, words]) => `    ${flags}) compadd -- ${words}; return ;;`).join('\n')}
    ${valued.join('|')}) _files; return ;;
  esac
  case "$path_" in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then _describe option flags
  elif (( $#choices )); then _describe command choices
  else _files
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

function fishOption({ flags, description, takesValue, choices }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = choices.length > 0 ? `-x -a ${quotedFish(choices.join(' '))}` : takesValue ? '-r -F' : '-f';
  return `${names.join(' ')} ${value} -d ${quotedFish(description)}`;
}
