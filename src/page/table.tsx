/**
 * The table of the page: a hundred rows at a time, sorted by any column, each row with details to open.
 *
 * A real table, so that a screen reader knows it as one. It has pages rather than a window that follows the
 * scroll bar: the browser can search and copy the whole page, and ten thousand rows cost as much as a hundred.
 * The arrow keys go from row to row, Tab as everywhere.
 */
import type { ComponentChildren } from 'preact';
import { useId, useMemo, useState } from 'preact/hooks';
import { type Arrangement, Listing, type Order, type Rows } from './listing.ts';
import { count } from './words.ts';

export interface Column<Row> {
  /** In the URL. */
  readonly id: string;
  readonly label: string;
  readonly sort: (row: Row) => string | number;
  readonly cell: (row: Row) => ComponentChildren;
  /** `number` is aligned to the right; `spare` is hidden first where there is little room. */
  readonly kind?: 'number' | 'spare' | 'number spare';
}

export interface TableProps<Row> {
  readonly caption: string;
  /** The first column names the row; its cell has the element that the keyboard reaches. */
  readonly columns: readonly Column<Row>[];
  /** In order. */
  readonly rows: Rows<Row>;
  readonly order: Order;
  readonly setOrder: (order: Order) => void;
  readonly keyOf: (row: Row) => string;
  readonly details?: (row: Row) => ComponentChildren;
  readonly empty: string;
}

/** The worst comes first: every table has a column of this id. */
export const worstFirst: Order = { column: 'state', descending: false };

/** What the order means for these columns. */
export function orderOf<Row>(
  columns: readonly Column<Row>[],
  { column, descending }: Order,
): Pick<Arrangement<Row>, 'by' | 'descending'> {
  const by = columns.find(({ id }) => id === column) ?? columns[0];
  return { by: by?.sort ?? (() => 0), descending };
}

/** The rows that fit, in order; for lists that come as a whole. */
export function useArranged<Row>(
  rows: readonly Row[] | undefined,
  keyOf: (row: Row) => string,
  arrangement: Arrangement<Row>,
  ...depends: readonly unknown[]
): Rows<Row> {
  return useMemo(() => {
    const listing = new Listing(arrangement);
    listing.change((rows ?? []).map((row) => [keyOf(row), row]));
    return listing.shown;
  }, [rows, ...depends]);
}

const pageSize = 100;

export function Table<Row>({ caption, columns, rows, order, setOrder, keyOf, details, empty }: TableProps<Row>) {
  const [page, setPage] = useState(0);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  // Rows can disappear while a person reads the last page.
  const pages = Math.max(1, Math.ceil(rows.length / pageSize));
  const shownPage = Math.min(page, pages - 1);
  const shown = rows.slice(shownPage * pageSize, (shownPage + 1) * pageSize);
  if (rows.length === 0) return <p class="empty">{empty}</p>;

  const toggle = (key: string): void => {
    const next = new Set(open);
    if (!next.delete(key)) next.add(key);
    setOpen(next);
  };
  const sortBy = (column: string): void => {
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
            {columns.map(({ id, label, kind }) => {
              const isChosen = id === order.column;
              const isNumber = kind?.startsWith('number');
              const direction = order.descending ? 'descending' : 'ascending';
              return (
                <th key={id} scope="col" class={kind} aria-sort={isChosen ? direction : 'none'}>
                  <button type="button" onClick={() => sortBy(id)}>
                    {!isNumber && label}
                    {isChosen && (
                      <span class="order" aria-hidden="true">
                        {order.descending ? '↓' : '↑'}
                      </span>
                    )}
                    {isNumber && label}
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
        {others.map(({ id: column, kind, cell }) => (
          <td key={column} class={kind}>
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
