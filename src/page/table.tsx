/**
 * The table of the page: sorted by any column, a hundred rows at a time, each row with details to open.
 *
 * A real table, so that a screen reader knows it as one. It has pages rather than a window that follows the
 * scroll bar: the browser can search and copy the whole page, and ten thousand rows cost as much as a hundred.
 * The arrow keys go from row to row, Tab as everywhere.
 */
import type { ComponentChildren } from 'preact';
import { useId, useMemo, useState } from 'preact/hooks';
import { sorted } from './rows.ts';
import { count } from './words.ts';

export interface Column<Row> {
  readonly label: string;
  readonly sort: (row: Row) => string | number;
  readonly cell: (row: Row) => ComponentChildren;
  /** `number` is aligned to the right; `spare` is hidden first where there is little room. */
  readonly kind?: 'number' | 'spare';
}

export interface TableProps<Row> {
  readonly caption: string;
  /** The first column names the row; its cell has the element that the keyboard reaches. */
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  readonly details?: (row: Row) => ComponentChildren;
  readonly empty: string;
}

const pageSize = 100;

export function Table<Row>({ caption, columns, rows, keyOf, details, empty }: TableProps<Row>) {
  const [order, setOrder] = useState({ column: 0, descending: false });
  const [page, setPage] = useState(0);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const by = columns[order.column] ?? columns[0];
  const inOrder = useMemo(
    () => (by === undefined ? rows : sorted(rows, by.sort, keyOf, order.descending)),
    [rows, by, keyOf, order.descending],
  );
  // Rows can disappear while a person reads the last page.
  const pages = Math.max(1, Math.ceil(rows.length / pageSize));
  const shownPage = Math.min(page, pages - 1);
  const shown = inOrder.slice(shownPage * pageSize, (shownPage + 1) * pageSize);
  if (rows.length === 0) return <p class="empty">{empty}</p>;

  const toggle = (key: string): void => {
    const next = new Set(open);
    if (!next.delete(key)) next.add(key);
    setOpen(next);
  };
  const sortBy = (column: number): void => {
    setOrder({ column, descending: column === order.column && !order.descending });
    setPage(0);
  };
  return (
    <>
      {pages > 1 && <Pager page={shownPage} pages={pages} rows={rows.length} go={setPage} />}
      <table class="rows">
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ label, kind }, index) => {
              const isChosen = index === order.column;
              const direction = order.descending ? 'descending' : 'ascending';
              return (
                <th key={label} scope="col" class={kind} aria-sort={isChosen ? direction : 'none'}>
                  <button type="button" onClick={() => sortBy(index)}>
                    {kind !== 'number' && label}
                    {isChosen && (
                      <span class="order" aria-hidden="true">
                        {order.descending ? '↓' : '↑'}
                      </span>
                    )}
                    {kind === 'number' && label}
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody onKeyDown={moveByKey}>
          {shown.map((row) => {
            const key = keyOf(row);
            return (
              <TableRow
                key={key}
                row={row}
                columns={columns}
                details={details}
                isOpen={open.has(key)}
                toggle={() => toggle(key)}
              />
            );
          })}
        </tbody>
      </table>
    </>
  );
}

interface TableRowProps<Row> {
  readonly row: Row;
  readonly columns: readonly Column<Row>[];
  readonly details: ((row: Row) => ComponentChildren) | undefined;
  readonly isOpen: boolean;
  readonly toggle: () => void;
}

function TableRow<Row>({ row, columns, details, isOpen, toggle }: TableRowProps<Row>) {
  const id = useId();
  const [first, ...others] = columns;
  const name = first?.cell(row);
  return (
    <>
      <tr>
        <th scope="row">
          {details === undefined ? (
            name
          ) : (
            <button
              type="button"
              data-row=""
              aria-expanded={isOpen}
              aria-controls={isOpen ? id : undefined}
              onClick={toggle}
            >
              <svg class="mark chevron" viewBox="0 0 16 16" aria-hidden="true">
                <path d="M5 2l6 6-6 6" />
              </svg>
              {name}
            </button>
          )}
        </th>
        {others.map(({ label, kind, cell }) => (
          <td key={label} class={kind}>
            {cell(row)}
          </td>
        ))}
      </tr>
      {isOpen && (
        <tr class="details" id={id}>
          <td colSpan={columns.length}>{details?.(row)}</td>
        </tr>
      )}
    </>
  );
}

interface PagerProps {
  readonly page: number;
  readonly pages: number;
  readonly rows: number;
  readonly go: (page: number) => void;
}

function Pager({ page, pages, rows, go }: PagerProps) {
  const last = Math.min((page + 1) * pageSize, rows);
  return (
    <div class="pager">
      <span>
        {count(page * pageSize + 1)}–{count(last)} of {count(rows)}
      </span>
      <button type="button" disabled={page === 0} onClick={() => go(page - 1)}>
        Previous
      </button>
      <button type="button" disabled={page === pages - 1} onClick={() => go(page + 1)}>
        Next
      </button>
    </div>
  );
}

/** Moves the focus from row to row: to the button or link of the row. */
function moveByKey(event: KeyboardEvent & { readonly currentTarget: HTMLElement }): void {
  const all = [...event.currentTarget.querySelectorAll<HTMLElement>('[data-row]')];
  const at = all.indexOf(event.target as HTMLElement);
  const to: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
  const next = all[to[event.key] ?? -1];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  next.focus();
}
