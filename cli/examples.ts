// One way to use each command, for its help and for docs/reference/cli.md. In order they are a story: a test
// runs them, from first to last, against a server that is new.
import type { Command } from 'commander';
import { pathOf } from './command-path.ts';

/** By the path of the command. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  dev: ['flowmesh dev -f manifests/', 'flowmesh dev --ephemeral --grpc-port 0 --http-port 0 -o json'],
  serve: ['flowmesh serve --config flowmesh.yaml', 'flowmesh serve --config flowmesh.yaml --check'],
  validate: ['flowmesh validate -f manifests/'],
  apply: ['flowmesh apply -f manifests/'],

  'kv set': [
    `flowmesh kv set user:1 '{"name":"Ada"}' --ttl 1h`,
    'flowmesh kv set photo:1 < photo.jpg',
    'flowmesh kv set lock:nightly worker-7 --if-absent --ttl 30s',
  ],
  'kv get': ['flowmesh kv get user:1', 'flowmesh kv get photo:1 > copy.jpg'],
  'kv incr': ['flowmesh kv incr visits', 'flowmesh kv incr visits -5'],
  'kv ls': ['flowmesh kv ls user:'],
  'kv inspect': ['flowmesh kv inspect user:1'],
  'kv watch': ['flowmesh kv watch user:', 'flowmesh kv watch --key user:1 --time 15m -o json'],
  'kv expire': ['flowmesh kv expire user:1 24h', 'flowmesh kv expire user:1 never'],
  'kv cache': ['flowmesh kv cache -k pages --max-bytes 268435456 --evict lfu'],
  'kv keyspaces': ['flowmesh kv keyspaces'],
  'kv hset': ['flowmesh kv hset cart:1 apples 3 pears 2'],
  'kv hget': ['flowmesh kv hget cart:1 apples'],
  'kv hgetall': ['flowmesh kv hgetall cart:1'],
  'kv hincr': ['flowmesh kv hincr cart:1 apples', 'flowmesh kv hincr cart:1 total 9.90'],
  'kv hdel': ['flowmesh kv hdel cart:1 pears'],
  'kv sadd': ['flowmesh kv sadd online ada bob'],
  'kv sismember': ['flowmesh kv sismember online ada'],
  'kv smembers': ['flowmesh kv smembers online'],
  'kv srem': ['flowmesh kv srem online bob'],
  'kv zadd': ['flowmesh kv zadd scores 120 ada 95 bob'],
  'kv zscore': ['flowmesh kv zscore scores ada'],
  'kv zincr': ['flowmesh kv zincr scores bob 30'],
  'kv zrange': ['flowmesh kv zrange scores --reverse --limit 10'],
  'kv zrem': ['flowmesh kv zrem scores bob'],
  'kv del': ['flowmesh kv del user:1 cart:1'],

  'queue declare': ['flowmesh queue declare emails.send --max-attempts 5 --backoff-max 5m'],
  'queue enqueue': [
    `flowmesh queue enqueue emails.send '{"to":"ada@example.org"}'`,
    `flowmesh queue enqueue emails.send '{"to":"bob@example.org"}' --delay 10m --dedup-key welcome-bob`,
    'flowmesh queue enqueue emails.send --file jobs.jsonl',
  ],
  'queue flow': ['flowmesh queue flow order.yaml'],
  'queue ls': ['flowmesh queue ls'],
  scaling: ['flowmesh scaling'],
  'queue get': ['flowmesh queue get emails.send'],
  'queue schedules': ['flowmesh queue schedules emails.send'],
  'queue peek': ['flowmesh queue peek emails.send --limit 3'],
  'queue jobs': ['flowmesh queue jobs emails.send --state delayed'],
  'queue job': ['flowmesh queue job emails.send 0-1-0'],
  'queue tail': ['flowmesh queue tail emails.send --interval 100ms --count 3'],
  'queue lease': ['flowmesh queue lease emails.send --max 2 --visibility 5m'],
  'queue effects': ['flowmesh queue effects 0-1-0'],
  'queue extend': ['flowmesh queue extend emails.send 0-1-0 1 10m'],
  'queue ack': ['flowmesh queue ack emails.send 0-1-0 1'],
  'queue nack': [`flowmesh queue nack emails.send 0-1-2 2 --error 'no such mailbox' --dead`],
  'queue cancel': [`flowmesh queue cancel emails.send 0-1-1 --reason 'sent by hand'`],
  'queue redrive': ['flowmesh queue redrive emails.send.dead'],
  'queue redrive-start': ['flowmesh queue redrive-start emails.send.dead --rate 50'],
  'queue redrive-status': ['flowmesh queue redrive-status emails.send.dead'],
  'queue redrive-cancel': ['flowmesh queue redrive-cancel emails.send.dead'],
  'queue drain': ['flowmesh queue drain emails.send', 'flowmesh queue drain emails.send --off'],
  'queue pause': ['flowmesh queue pause emails.send'],
  'queue resume': ['flowmesh queue resume emails.send'],
  'queue purge': ['flowmesh queue purge emails.send --yes'],
  'queue disown': ['flowmesh queue disown emails.send'],
  'queue delete': ['flowmesh queue delete emails.send --if-empty'],

  'schema ls': ['flowmesh schema ls'],
  'schema get': ['flowmesh schema get order'],
  'schema validate': [
    `flowmesh schema validate order '{"order":1,"customer":"ada"}'`,
    'flowmesh schema validate order --file orders.jsonl',
    'flowmesh schema validate order --file orders.jsonl -f manifests/',
  ],
  'schema disown': ['flowmesh schema disown order'],
  'schema delete': ['flowmesh schema delete order --yes'],

  'stream declare': ['flowmesh stream declare orders.events --partitions 8 --retention 30d'],
  'stream write': [
    `flowmesh stream write orders.events '{"order":1}' --key ada`,
    'flowmesh stream write orders.events --file orders.jsonl --key-field customer',
  ],
  'stream ls': ['flowmesh stream ls'],
  'stream effects': ['flowmesh stream effects orders.events 0 0'],
  'stream get': ['flowmesh stream get orders.events'],
  'stream read': [
    'flowmesh stream read orders.events --partition 1 --offset 0',
    'flowmesh stream read orders.events --time 15m -o json',
  ],
  'stream tail': ['flowmesh stream tail orders.events -n 5', 'flowmesh stream tail orders.events -f'],
  'stream seek': ['flowmesh stream seek orders.events billing --time 1h'],
  'stream groups': ['flowmesh stream groups orders.events'],
  'stream group': ['flowmesh stream group orders.events billing'],
  'stream disown': ['flowmesh stream disown orders.events'],
  'stream delete': ['flowmesh stream delete orders.events --yes'],

  status: ['flowmesh status'],
  version: ['flowmesh version'],
  completion: [
    "echo 'source <(flowmesh completion bash)' >> ~/.bashrc",
    "echo 'source <(flowmesh completion zsh)' >> ~/.zshrc",
    'flowmesh completion fish > ~/.config/fish/completions/flowmesh.fish',
  ],
};

export function examplesOf(command: Command): readonly string[] {
  return examples[pathOf(command)] ?? [];
}
