/** Called with the bytes done so far and their total; may be called often. */
export type Progress = (done: number, total: number) => void;
