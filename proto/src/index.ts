export * from './errors.ts';
export * from './partitioner.ts';
export * from './record-batch.ts';
