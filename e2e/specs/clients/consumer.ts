// A member of group `billing` of stream `orders`, one record at a time.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@flowmesh/client';

const env = (name: string) => process.env[name] ?? '';
const tls = { ca: env('FLOWMESH_CA') };
const fm = await connect({ address: env('FLOWMESH_ADDRESS'), token: env('FLOWMESH_TOKEN'), tls });
const consumer = fm.stream.consumer<{ ms: number }>('orders', 'billing');
for await (const { value } of consumer) await sleep(value.ms);
