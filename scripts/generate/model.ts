// What the generators read: the messages, enums and services of the API under their exported names.
// A nested type `Outer.Inner` is exported as `Outer_Inner`.

import protobuf from 'protobufjs';

export interface Model {
  messages: Named<protobuf.Type>[];
  enums: Named<protobuf.Enum>[];
  services: Named<protobuf.Service>[];
}

export interface Named<T> {
  name: string;
  /** Full name without the leading dot: flowmesh.v1.KvRequest. */
  fullName: string;
  subject: T;
}

// Shadowing one of these inside the generated declarations would change their meaning.
const taken = new Set(['Buffer', 'Uint8Array', 'MessageType']);

export function exportedTypes(root: protobuf.Root, files: string[]): Model {
  const model: Model = { messages: [], enums: [], services: [] };
  const visit = (namespace: protobuf.NamespaceBase) => {
    for (const subject of namespace.nestedArray) {
      const fullName = subject.fullName.slice(1);
      const named = { name: exportName(subject), fullName };
      if (taken.has(named.name)) throw new Error(`${fullName}: the name is taken, choose another one`);
      if (subject instanceof protobuf.Type) model.messages.push({ ...named, subject: checked(subject) });
      else if (subject instanceof protobuf.Enum) model.enums.push({ ...named, subject });
      else if (subject instanceof protobuf.Service) model.services.push({ ...named, subject });
      if (subject instanceof protobuf.Namespace) visit(subject);
    }
  };
  visit(root);
  const packages = new Set(files.map((file) => file.slice(0, file.lastIndexOf('/')).replaceAll('/', '.')));
  for (const { fullName, subject } of [...model.messages, ...model.enums, ...model.services]) {
    if (![...packages].some((name) => fullName.startsWith(`${name}.`))) {
      throw new Error(`${subject.filename}: ${fullName} is outside ${[...packages].join(', ')}`);
    }
  }
  for (const list of [model.messages, model.enums, model.services]) {
    list.sort((a, b) => (a.fullName < b.fullName ? -1 : 1));
  }
  return model;
}

export function exportName(subject: protobuf.ReflectionObject): string {
  const { parent } = subject;
  return parent instanceof protobuf.Type ? `${exportName(parent)}_${subject.name}` : subject.name;
}

export function comment(text: string | null | undefined, indent = ''): string {
  if (!text) return '';
  const lines = text.trim().replaceAll('*/', '*').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

// The reader of codec.ts decodes 64-bit varints as numbers; fixed widths and 64-bit map keys take other
// paths.
function checked(type: protobuf.Type): protobuf.Type {
  for (const field of type.fieldsArray) {
    const keyType = field instanceof protobuf.MapField ? field.keyType : undefined;
    if (/^s?fixed64$/.test(field.type) || keyType?.endsWith('64')) {
      throw new Error(
        `${field.fullName}: fixed64 and 64-bit map keys are not supported, use uint64 or int64`,
      );
    }
  }
  return type;
}
